# Evaluate a dataset in CI. Exit code 1: a gate is missed. The endpoint is the one
# that the environment names or, where it names none, the embedded model.
set -u
data=$1 limit=$2 tokens=$3

evalkit run "$data" --limit "$limit" --temperature 0 --max-tokens 64 \
  --max-tokens-total "$tokens" --max-time 1200 \
  --out ci.evalkit --junit ci.xml \
  --fail-under 'accuracy.low>=0.1' 'errors<=1%' 'complete>=100%'
code=$?

[ -f ci.evalkit ] && evalkit report ci.evalkit -o ci.md --overwrite
exit $code
