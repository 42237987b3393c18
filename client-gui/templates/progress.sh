#!/bin/bash
# progress.sh: works for a while and says how far it is
steps=${1:-10}
for i in $(seq "$steps"); do
    echo "$((100 * i / steps)) step $i of $steps" > "$RUCHE_PROGRESS"
    echo "step $i of $steps"
    sleep 1
done
echo "done"
