package desilt.peer;

import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.paimon.CoreOptions;
import org.apache.paimon.catalog.Catalog;
import org.apache.paimon.catalog.Identifier;
import org.apache.paimon.options.ConfigOption;
import org.apache.paimon.schema.Schema;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;

/** What the library thinks of schemas, without a table that anybody keeps. */
final class Schemas {
    private static final String DATABASE = "tried";

    private Schemas() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("validate_schemas", Schemas::validate);
        operations.put("option_keys", Schemas::optionKeys);
    }

    /** A table's description as creating one takes it. */
    static Schema schema(JsonNode args) {
        Schema.Builder builder = Schema.newBuilder();
        for (JsonNode column : Args.need(args, "columns")) {
            builder.column(Args.text(column, "name"), Args.type(Args.need(column, "type")));
        }
        builder.partitionKeys(Args.texts(args, "partition_keys"));
        builder.primaryKey(Args.texts(args, "primary_keys"));
        builder.options(Args.map(args, "options"));
        return builder.build();
    }

    /** Per schema null when a table of it can be created, else why not. */
    private static void validate(JsonNode args, JsonGenerator out) throws Exception {
        Path warehouse = Files.createTempDirectory("paimon-schemas");
        try (Catalog catalog = Tables.catalog(warehouse.toString())) {
            catalog.createDatabase(DATABASE, true);
            out.writeStartArray();
            int number = 0;
            for (JsonNode one : Args.need(args, "schemas")) {
                out.writeObject(refusal(catalog, "t" + number++, one));
            }
            out.writeEndArray();
        } finally {
            remove(warehouse);
        }
    }

    /** The keys of all options that the library knows for tables, older spellings too. */
    private static void optionKeys(JsonNode args, JsonGenerator out) throws Exception {
        Set<String> keys = new TreeSet<>();
        for (Field field : CoreOptions.class.getFields()) {
            if (Modifier.isStatic(field.getModifiers())
                    && field.get(null) instanceof ConfigOption<?> option) {
                keys.add(option.key());
                option.fallbackKeys().forEach(older -> keys.add(older.getKey()));
            }
        }
        out.writeObject(keys);
    }

    private static String refusal(Catalog catalog, String name, JsonNode description) {
        try {
            catalog.createTable(Identifier.create(DATABASE, name), schema(description), false);
            return null;
        } catch (Exception refused) {
            Throwable cause = refused;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            return cause.getClass().getSimpleName() + ": " + cause.getMessage();
        }
    }

    private static void remove(Path root) throws IOException {
        List<Path> all;
        try (Stream<Path> walked = Files.walk(root)) {
            all = walked.sorted(Comparator.reverseOrder()).collect(Collectors.toList());
        }
        for (Path path : all) {
            Files.delete(path);
        }
    }
}
