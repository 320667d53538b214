#!/usr/bin/env bash
# The main job: remember a corpus, ask it questions, see where the answers come from and what was kept.
# The LLM is fetched first where it is not there yet: about 100 MB.
set -euo pipefail
cd "$(dirname "$0")"
store="${1:-$(mktemp -d)/paragraphs.store}"

echo "\$ mbc encode examples/paragraphs.jsonl --store $store"
mbc encode paragraphs.jsonl --store "$store"

echo "\$ mbc query - --sources < examples/paragraphs.questions.txt"
echo "  the questions, in the order of the answers below:"
sed 's/^/  /' paragraphs.questions.txt
mbc query - --store "$store" --sources < paragraphs.questions.txt

echo "\$ mbc memory show wolves"
mbc memory show wolves --store "$store"

echo "\$ mbc memory info"
mbc memory info --store "$store"
