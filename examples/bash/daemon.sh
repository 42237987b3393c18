# Leaves a process behind; it is gone when the program has ended.
sleep 3600 &
echo "started a process in the background"
