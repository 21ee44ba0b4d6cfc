package desilt.peer;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.time.DateTimeException;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.paimon.partition.PartitionTimeExtractor;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.table.FileStoreTable;
import org.apache.paimon.table.sink.TableCommitImpl;

/** Operations on whole partitions, and on manifests. */
final class Partitions {
    private Partitions() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("expire_partitions_at", Partitions::expire);
        operations.put("drop_partitions", Partitions::drop);
        operations.put("compact_manifests", Partitions::compactManifests);
        operations.put("partition_times", Partitions::times);
    }

    private static FileStoreTable open(JsonNode args) {
        FileStoreTable table = Tables.open(Args.text(args, "path"), Map.of());
        Map<String, String> options = Args.map(args, "options");
        return options.isEmpty() ? table : table.copy(options);
    }

    /** Expires at the wall clock given as "now"; the partitions that went, by key. */
    private static void expire(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        Object store = table.store();
        Object expire = null;
        for (Method method : store.getClass().getMethods()) {
            if (method.getName().equals("newPartitionExpire")) {
                Class<?>[] types = method.getParameterTypes();
                if (types.length == 1) {
                    expire = method.invoke(store, "expiry");
                } else if (types.length == 2) {
                    expire = method.invoke(store, "expiry", table);
                }
            }
        }
        Method at =
                expire.getClass().getDeclaredMethod("expire", LocalDateTime.class, long.class);
        at.setAccessible(true);
        LocalDateTime now = LocalDateTime.parse(Args.text(args, "now"));
        out.writeObject(at.invoke(expire, now, Long.MAX_VALUE));
    }

    private static List<Map<String, String>> specs(JsonNode args) {
        List<Map<String, String>> found = new ArrayList<>();
        Args.need(args, "partitions")
                .forEach(
                        spec -> {
                            Map<String, String> values = new LinkedHashMap<>();
                            spec.fields()
                                    .forEachRemaining(
                                            e -> values.put(e.getKey(), e.getValue().asText()));
                            found.add(values);
                        });
        return found;
    }

    private static void drop(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        try (TableCommitImpl commit = (TableCommitImpl) table.newCommit("drop")) {
            call(commit, "truncatePartitions", specs(args));
        }
        out.writeObject(table.snapshotManager().latestSnapshotId());
    }

    private static void compactManifests(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        try (TableCommitImpl commit = (TableCommitImpl) table.newCommit("manifests")) {
            call(commit, "compactManifests");
        }
        out.writeObject(table.snapshotManager().latestSnapshotId());
    }

    private static void call(Object owner, String name, Object... args)
            throws ReflectiveOperationException {
        for (Method method : owner.getClass().getMethods()) {
            if (method.getName().equals(name) && method.getParameterCount() == args.length) {
                method.invoke(owner, args);
                return;
            }
        }
        throw new UnsupportedOperationException(name);
    }

    /** Each row of values as [epoch second, nano] of the wall clock, or null for no time. */
    private static void times(JsonNode args, JsonGenerator out) throws Exception {
        String pattern = Args.has(args, "pattern") ? Args.text(args, "pattern") : null;
        String formatter = Args.has(args, "formatter") ? Args.text(args, "formatter") : null;
        PartitionTimeExtractor extractor = new PartitionTimeExtractor(pattern, formatter);
        List<String> keys = Args.texts(args, "keys");
        out.writeStartArray();
        for (JsonNode row : Args.need(args, "rows")) {
            List<String> values = new ArrayList<>();
            row.forEach(value -> values.add(value.asText()));
            LocalDateTime found = moment(extractor, keys, values);
            if (found == null) {
                out.writeNull();
            } else {
                out.writeStartArray();
                out.writeNumber(found.toEpochSecond(ZoneOffset.UTC));
                out.writeNumber(found.getNano());
                out.writeEndArray();
            }
        }
        out.writeEndArray();
    }

    private static LocalDateTime moment(
            PartitionTimeExtractor extractor, List<String> keys, List<String> values)
            throws ReflectiveOperationException {
        Method method =
                PartitionTimeExtractor.class.getMethod("extract", List.class, List.class);
        try {
            return (LocalDateTime) method.invoke(extractor, keys, values);
        } catch (InvocationTargetException failure) {
            if (failure.getCause() instanceof DateTimeException) {
                return null;
            }
            throw failure;
        }
    }
}
