"""From images to label maps on disk, with a trained run or an exported model."""
