"""Types of fields with their ranges, as the sections of a configuration use them."""

from typing import Annotated, Literal, Tuple

from pydantic import Field

# Seeds of stages are ten times as large, and int32.
MAX_SEED = 10**8

# The upper ends are far beyond what fits into memory or a life.
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Steps = Annotated[int, Field(gt=0, le=10**8)]
StepsOrNone = Annotated[int, Field(ge=0, le=10**8)]
Batch = Annotated[int, Field(gt=0, le=2**16)]
Samples = Annotated[int, Field(gt=0, le=1000)]
Channels = Annotated[int, Field(gt=0, le=2**12)]
Images = Annotated[int, Field(gt=0, le=10**6)]
ImagesOrAll = Annotated[int, Field(ge=0, le=10**6)]
Rate = Annotated[float, Field(gt=0, le=10)]
Weight = Annotated[float, Field(ge=0, le=10**6)]
Share = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(max_length=4096)]
Decay = Literal["constant", "linear", "halve"]
NoiseSampling = Literal["independent", "stratified"]
Side = Annotated[int, Field(gt=0, le=2**16)]
Size = Tuple[Side, Side]
CropSide = Annotated[int, Field(ge=16, le=2**16)]
SideOrOwn = Annotated[int, Field(ge=0, le=2**16)]
Scale = Annotated[float, Field(gt=0, le=100)]
ClassId = Annotated[int, Field(ge=0, le=255)]
