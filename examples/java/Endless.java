public class Endless {
    public static void main(String[] arguments) {
        long count = 0;
        while (true) {
            count++;
        }
    }
}
