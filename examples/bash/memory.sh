# Doubles a text again and again; the memory limit ends it.
text="0123456789abcdef"
while true; do
    text="$text$text"
done
