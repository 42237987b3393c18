/** Prints a table of temperatures. */
public class Temperature {
    public static void main(String[] arguments) {
        for (int celsius = -40; celsius <= 40; celsius += 20) {
            System.out.printf("%4d C = %4d F%n", celsius, celsius * 9 / 5 + 32);
        }
    }
}
