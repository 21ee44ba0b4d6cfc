package desilt.peer;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.types.DataType;
import org.apache.paimon.types.DataTypeJsonParser;

/** Reads typed arguments out of a request; a missing one is an error that names it. */
final class Args {
    private Args() {}

    static JsonNode need(JsonNode args, String name) {
        JsonNode value = args.get(name);
        if (value == null || value.isNull()) {
            throw new IllegalArgumentException("argument " + name + " is missing");
        }
        return value;
    }

    static boolean has(JsonNode args, String name) {
        return args.hasNonNull(name);
    }

    static String text(JsonNode args, String name) {
        return need(args, name).asText();
    }

    static int integer(JsonNode args, String name) {
        return need(args, name).asInt();
    }

    static boolean flag(JsonNode args, String name, boolean otherwise) {
        return has(args, name) ? args.get(name).asBoolean() : otherwise;
    }

    static List<String> texts(JsonNode args, String name) {
        List<String> found = new ArrayList<>();
        args.path(name).forEach(item -> found.add(item.asText()));
        return found;
    }

    static Map<String, String> map(JsonNode args, String name) {
        Map<String, String> found = new LinkedHashMap<>();
        args.path(name)
                .fields()
                .forEachRemaining(entry -> found.put(entry.getKey(), entry.getValue().asText()));
        return found;
    }

    /** The library's own reading of a type's text (or of its JSON form, for nested types). */
    static DataType type(JsonNode node) {
        return DataTypeJsonParser.parseDataType(node);
    }

    static List<DataType> types(JsonNode args, String name) {
        List<DataType> found = new ArrayList<>();
        need(args, name).forEach(item -> found.add(type(item)));
        return found;
    }
}
