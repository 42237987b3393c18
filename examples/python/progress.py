# Tells its progress: the history shows it while it runs.
import os
import time

for percent in range(0, 101, 20):
    with open(os.environ["RUCHE_PROGRESS"], "w") as progress:
        progress.write(f"{percent} counting to a hundred")
    time.sleep(0.3)
print("counted")
