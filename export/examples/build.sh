#!/bin/sh
# Compiles run_savedmodel.cc against the TensorFlow library inside an installed wheel:
#
#   sh build.sh PYTHON OUTPUT
#
# PYTHON is an interpreter that has tensorflow. It takes about 10 seconds.
set -eu
here=$(dirname "$0")
tensorflow=$("$1" -c "
import importlib.util, os
print(os.path.dirname(importlib.util.find_spec('tensorflow').origin))")
"${CXX:-g++}" -std=c++17 -O1 -D_GLIBCXX_USE_CXX11_ABI=1 \
    -I "$tensorflow/include" "$here/run_savedmodel.cc" -o "$2" \
    -L "$tensorflow" -Wl,-rpath,"$tensorflow" -Wl,--no-as-needed \
    -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2
