package desilt.peer;

import java.lang.reflect.Constructor;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.paimon.FileStore;
import org.apache.paimon.data.BinaryRow;
import org.apache.paimon.fs.Path;
import org.apache.paimon.operation.PartitionExpire;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.table.FileStoreTable;
import org.apache.paimon.table.sink.BatchWriteBuilder;

/** What the library's own maintenance does to a table: rollbacks, orphans, old partitions. */
final class Maintenance {
    private static final String USER = "maintenance";

    private Maintenance() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("rollback_to", Maintenance::rollbackTo);
        operations.put("remove_orphans", Maintenance::removeOrphans);
        operations.put("expire_partitions", Maintenance::expirePartitions);
        operations.put("list_partitions", Maintenance::listPartitions);
    }

    private static void rollbackTo(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = Refs.open(args);
        if (Args.has(args, "tag")) {
            table.rollbackTo(Args.text(args, "tag"));
        } else {
            table.rollbackTo(Args.need(args, "snapshot").asLong());
        }
        out.writeNumber(Tables.latest(table));
    }

    /** The paths of the orphans that were removed, or would be; only newer versions tell. */
    private static void removeOrphans(JsonNode args, JsonGenerator out) throws Exception {
        long olderThan = Args.need(args, "older_than_millis").asLong();
        boolean dryRun = Args.flag(args, "dry_run", false);
        Object clean = localClean().newInstance(Refs.open(args), olderThan, dryRun);
        Object result = clean.getClass().getMethod("clean").invoke(clean);
        List<?> paths = (List<?>) result.getClass().getMethod("getDeletedFilesPath").invoke(result);
        out.writeStartArray();
        for (Object path : paths == null ? List.of() : paths) {
            out.writeString(((Path) path).toString());
        }
        out.writeEndArray();
    }

    private static Constructor<?> localClean() throws NoSuchMethodException {
        try {
            return Class.forName("org.apache.paimon.operation.LocalOrphanFilesClean")
                    .getConstructor(FileStoreTable.class, long.class, boolean.class);
        } catch (ClassNotFoundException absent) {
            throw new UnsupportedOperationException("cleaning of orphans");
        }
    }

    private static void expirePartitions(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table =
                Refs.open(args).copy(Map.of("partition.expiration-check-interval", "0 s"));
        PartitionExpire expire = expire(table);
        List<Map<String, String>> expired =
                expire == null ? List.of() : expire.expire(BatchWriteBuilder.COMMIT_IDENTIFIER);
        out.writeObject(expired == null ? List.of() : expired);
    }

    /** Null when the table's options ask for no expiry; newer versions want the table, too. */
    private static PartitionExpire expire(FileStoreTable table)
            throws ReflectiveOperationException {
        Method make =
                Arrays.stream(FileStore.class.getMethods())
                        .filter(method -> method.getName().equals("newPartitionExpire"))
                        .filter(method -> method.getParameterCount() <= 2)
                        .findFirst()
                        .orElseThrow();
        Object[] values = {USER, table};
        return (PartitionExpire)
                make.invoke(table.store(), Arrays.copyOf(values, make.getParameterCount()));
    }

    private static void listPartitions(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = Refs.open(args);
        out.writeStartArray();
        for (BinaryRow partition : table.newReadBuilder().newScan().listPartitions()) {
            out.writeObject(Tables.partitionText(table, partition));
        }
        out.writeEndArray();
    }
}
