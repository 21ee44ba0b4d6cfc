package desilt.peer;

import java.util.HashMap;
import java.util.Map;
import org.apache.paimon.catalog.Catalog;
import org.apache.paimon.catalog.CatalogContext;
import org.apache.paimon.catalog.CatalogFactory;
import org.apache.paimon.catalog.Identifier;
import org.apache.paimon.options.Options;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.table.FileStoreTable;

/**
 * Catalogs by their options; a request names one by the options under "catalog".
 *
 * <p>In such a request the "path" of a table is its name, database.table. A catalog is closed after
 * the request: open results in its connections would keep others from writing to SQLite.
 */
final class Catalogs {
    private static final String OPTIONS = "catalog";
    private static final Map<Map<String, String>, Catalog> OPEN = new HashMap<>();

    private Catalogs() {}

    static boolean named(JsonNode args) {
        return Args.has(args, OPTIONS);
    }

    static Catalog get(JsonNode args) {
        return OPEN.computeIfAbsent(Args.map(args, OPTIONS), Catalogs::make);
    }

    private static Catalog make(Map<String, String> given) {
        Map<String, String> options = new HashMap<>(given);
        options.putIfAbsent("cache-enabled", "false");
        if (options.containsKey("s3.endpoint")) {
            // With version 4 the plug-in signs uploads in pieces; not every server takes an empty
            // one, as Ceph 16 does not.
            options.putIfAbsent("s3.signing-algorithm", "S3SignerType");
        }
        return CatalogFactory.createCatalog(CatalogContext.create(Options.fromMap(options)));
    }

    static FileStoreTable table(JsonNode args) {
        Identifier name = Identifier.fromString(Args.text(args, "path"));
        try {
            return (FileStoreTable) get(args).getTable(name);
        } catch (Catalog.TableNotExistException absent) {
            throw new IllegalArgumentException(absent);
        }
    }

    static void closeAll() throws Exception {
        for (Catalog catalog : OPEN.values()) {
            catalog.close();
        }
        OPEN.clear();
    }
}
