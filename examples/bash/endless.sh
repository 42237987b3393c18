# Sleeps for ever; the time limit ends it.
while true; do
    sleep 1
done
