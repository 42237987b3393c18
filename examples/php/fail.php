<?php
fwrite(STDERR, "nothing to do\n");
exit(8);
