if true; then
    echo "the end of the if is missing"
