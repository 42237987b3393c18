# Says where it runs.
echo "This is program $RUCHE_PROGRAM_ID, attempt $RUCHE_ATTEMPT."
echo "Its working folder is $HOME."
