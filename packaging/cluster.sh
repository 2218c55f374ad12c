#!/bin/bash
# Three nodes of one group on this machine, with their data in ./cluster-data, until Ctrl-C.
# PROGRAMS is where rstmdb and rstmdb-cli are.
set -euo pipefail
programs=${PROGRAMS:?}
data=${DATA:-./cluster-data}
mkdir -p "$data"
nodes=()
stop() { for node in "${nodes[@]}"; do kill "$node" 2>/dev/null || true; done; wait || true; }
trap stop EXIT
trap 'exit 0' INT TERM
node() {
    local number=$1
    shift
    "$programs/rstmdb" --data "$data/$number" --bind "127.0.0.1:74${number}1" --metrics-bind "127.0.0.1:74${number}2" \
        --set cluster.enabled=true --set "cluster.bind_addr=127.0.0.1:74${number}3" --set "cluster.node_name=node$number" \
        --set cluster.seeds=127.0.0.1:7413,127.0.0.1:7423,127.0.0.1:7433 \
        "$@" >"$data/$number.log" 2>&1 &
    nodes+=("$!")
}
node 1 --set cluster.bootstrap=true
node 2
node 3
cat <<TEXT
Three nodes start: their logs are $data/1.log to 3.log. In another terminal:
  $programs/rstmdb-cli --server 127.0.0.1:7411 cluster status
  $programs/rstmdb-cli --server rstmdb://127.0.0.1:7411,127.0.0.1:7421,127.0.0.1:7431
  curl http://127.0.0.1:7412/health/ready
Kill one and see the others go on: kill -9 ${nodes[0]} is node 1, ${nodes[1]} node 2, ${nodes[2]} node 3.
Ctrl-C stops all; the data stays in $data.
TEXT
wait
