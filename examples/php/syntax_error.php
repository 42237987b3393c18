<?php
echo "the semicolon is missing"
exit(0);
