puts stderr "nothing to do"
exit 9
