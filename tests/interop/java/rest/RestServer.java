import java.util.Map;
import org.apache.paimon.rest.RESTCatalogServer;
import org.apache.paimon.rest.auth.BearTokenAuthProvider;
import org.apache.paimon.rest.responses.ConfigResponse;

/**
 * Paimon's own REST catalog server of its tests, over a warehouse on the local disk.
 *
 * <p>Arguments: the warehouse's directory, its name, the bearer token. Prints its address. What it
 * knows of databases and tables is in memory.
 */
public final class RestServer {
    private RestServer() {}

    public static void main(String[] args) throws Exception {
        String directory = args[0];
        String name = args[1];
        ConfigResponse config =
                new ConfigResponse(Map.of("prefix", "paimon", "warehouse", name), Map.of());
        RESTCatalogServer server =
                new RESTCatalogServer(
                        "file:" + directory, new BearTokenAuthProvider(args[2]), config, name);
        server.start();
        System.out.println("listening on " + server.getUrl());
        System.out.flush();
        Thread.currentThread().join();
    }
}
