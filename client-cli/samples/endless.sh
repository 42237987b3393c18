# Never ends by itself: the wall-time limit does it.
while :; do :; done
