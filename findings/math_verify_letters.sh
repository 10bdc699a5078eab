#!/usr/bin/env bash
# math-verify 0.9.0: an answer of letters between dollars is a product of symbols, so that every anagram of a word is right.
#
# `$Paris$` is read as a·i·p·r·s and equals `$Pairs$`; `$listen$` equals `$silent$`. Inside \text{} a word stays a word.
# A data set whose answers are sometimes words must not send them through a verifier of formulas.
#
# Seen:
#   Paris Pairs True
#   listen silent True
#   \text{Paris} \text{Pairs} False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check "math-verify[antlr4_9_3]==0.9.0" latex2sympy2_extended==1.11.0
cat > "$folder/see.py" <<'PY'
from math_verify import parse, verify

for gold, said in (("Paris", "Pairs"), ("listen", "silent"), (r"\text{Paris}", r"\text{Pairs}")):
    print(gold, said, verify(parse(f"${gold}$"), parse(f"${said}$")))
PY
seen=$("$folder/env/bin/python" "$folder/see.py")
echo "$seen"
[ "$seen" = $'Paris Pairs True\nlisten silent True\n\\text{Paris} \\text{Pairs} False' ]
