echo "about to look for a file that is not there"
ls /no/such/file
exit 2
