public class SyntaxError {
    public static void main(String[] arguments) {
        int number = "seven";
    }
}
