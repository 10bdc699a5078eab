#!/usr/bin/env bash
# transformers 5.23.0, Emu3's image processor: told that the channels of its input come last, it reports a height of 3.
#
# A picture of 512 x 512 pixels gives the same pixel values (1, 3, 512, 512) with and without input_data_format, but image_sizes
# of [3, 512] in place of [512, 512]. The processor of prompts writes as many placeholders as image_sizes says: none.
# So the option cannot be used to settle what a picture of one or three rows means, which otherwise passes for its channels.
#
# Seen:
#   {} (1, 3, 512, 512) [[512, 512]]
#   {'input_data_format': 'channels_last'} (1, 3, 512, 512) [[3, 512]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 numpy==2.4.6 pillow==13.0.0
cat > "$folder/see.py" <<'PY'
import numpy as np
from PIL import Image
from transformers import Emu3ImageProcessor

picture = Image.new("RGB", (512, 512), (200, 30, 90))
for options in ({}, {"input_data_format": "channels_last"}):
    made = Emu3ImageProcessor()(images=[picture], return_tensors="np", **options)
    print(options, np.asarray(made["pixel_values"]).shape, np.asarray(made["image_sizes"]).tolist())
PY
seen=$("$folder/env/bin/python" "$folder/see.py" 2>/dev/null)
echo "$seen"
[ "$seen" = $'{} (1, 3, 512, 512) [[512, 512]]\n{\'input_data_format\': \'channels_last\'} (1, 3, 512, 512) [[3, 512]]' ]
