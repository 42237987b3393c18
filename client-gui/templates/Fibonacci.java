// Fibonacci.java: the first n numbers
import java.math.BigInteger;

public class Fibonacci {
    public static void main(String[] args) {
        int n = args.length > 0 ? Integer.parseInt(args[0]) : 20;
        BigInteger a = BigInteger.ZERO, b = BigInteger.ONE;
        for (int i = 0; i < n; i++) {
            System.out.println(i + ": " + a);
            BigInteger next = a.add(b);
            a = b;
            b = next;
        }
    }
}
