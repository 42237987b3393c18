print("Hello from Python")
print("6 x 7 =", 6 * 7)
