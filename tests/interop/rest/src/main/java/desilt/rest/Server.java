package desilt.rest;

import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.paimon.catalog.Identifier;
import org.apache.paimon.rest.RESTCatalogServer;
import org.apache.paimon.rest.RESTToken;
import org.apache.paimon.rest.auth.BearTokenAuthProvider;
import org.apache.paimon.rest.responses.ConfigResponse;

/**
 * The REST catalog server of Paimon's own tests, on a free port of the loopback interface.
 *
 * <p>Arguments: directory of the data, warehouse's name, bearer token, prefix, and then key=value
 * defaults that the server hands to clients. The first line on stdout is its URL; then each line on
 * stdin is an order, answered by "ok" or "error: ...". It ends with its stdin.
 */
public final class Server {
    private Server() {}

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true);
        System.setOut(System.err);
        Map<String, String> defaults = new LinkedHashMap<>();
        defaults.put("prefix", args[3]);
        defaults.put("warehouse", args[1]);
        for (int i = 4; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            defaults.put(pair[0], pair[1]);
        }
        RESTCatalogServer server =
                new RESTCatalogServer(
                        args[0],
                        new BearTokenAuthProvider(args[2]),
                        new ConfigResponse(defaults, Map.of()),
                        args[1]);
        server.start();
        out.println(server.getUrl());
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String line;
        while ((line = in.readLine()) != null) {
            out.println(answer(server, line.split(" ")));
        }
        System.exit(0);
    }

    private static String answer(RESTCatalogServer server, String[] order) {
        try {
            obey(server, order);
            return "ok";
        } catch (RuntimeException failure) {
            return "error: " + failure;
        }
    }

    private static void obey(RESTCatalogServer server, String[] order) {
        switch (order[0]) {
            case "token": // token db.table expiresAtMillis key=value...
                Map<String, String> options = new LinkedHashMap<>();
                for (int i = 3; i < order.length; i++) {
                    String[] pair = order[i].split("=", 2);
                    options.put(pair[0], pair[1]);
                }
                server.setDataToken(
                        Identifier.fromString(order[1]),
                        new RESTToken(options, Long.parseLong(order[2])));
                return;
            case "forbid": // forbid db.table
                server.addNoPermissionTable(Identifier.fromString(order[1]));
                return;
            case "lose": // the answer to the next commit that succeeds is an error
                RESTCatalogServer.commitSuccessThrowException = true;
                return;
            default:
                throw new IllegalArgumentException(order[0]);
        }
    }
}
