package desilt.peer;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.paimon.Snapshot;
import org.apache.paimon.data.BinaryRow;
import org.apache.paimon.deletionvectors.BitmapDeletionVector;
import org.apache.paimon.deletionvectors.DeletionVector;
import org.apache.paimon.index.IndexFileHandler;
import org.apache.paimon.index.IndexFileMeta;
import org.apache.paimon.io.CompactIncrement;
import org.apache.paimon.io.DataIncrement;
import org.apache.paimon.manifest.FileKind;
import org.apache.paimon.manifest.IndexManifestEntry;
import org.apache.paimon.manifest.ManifestEntry;
import org.apache.paimon.operation.FileStoreWrite;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.table.FileStoreTable;
import org.apache.paimon.table.sink.BatchTableCommit;
import org.apache.paimon.table.sink.CommitMessage;
import org.apache.paimon.table.sink.CommitMessageImpl;

/** What engines do to append tables: deletes by vectors, and the packing of bucketless tables. */
final class Appends {
    private static final String PACKAGE = "org.apache.paimon.deletionvectors.";
    private static final String[] MAINTAINERS = {
        PACKAGE + "append.BaseAppendDeleteFileMaintainer",
        PACKAGE + "append.AppendDeletionFileMaintainer",
    };
    private static final String[] COORDINATORS = {
        "org.apache.paimon.append.AppendCompactCoordinator",
        "org.apache.paimon.append.UnawareAppendTableCompactionCoordinator",
    };

    private Appends() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("delete_rows", Appends::deleteRows);
        operations.put("pack", Appends::pack);
    }

    // ---------------------------------------------------------------- deletes

    /** The place of a maintainer: one per partition, or per bucket where there are buckets. */
    private record Place(BinaryRow partition, int bucket) {}

    /** Marks positions of data files as deleted, in one commit. */
    private static void deleteRows(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = Tables.open(args, Args.map(args, "options"));
        long before = Tables.latest(table);
        boolean bucketless = table.coreOptions().bucket() == -1;
        IndexFileHandler handler = table.store().newIndexFileHandler();
        Map<Place, Object> maintainers = new LinkedHashMap<>();
        JsonNode wanted = Args.need(args, "positions");
        int left = wanted.size();
        for (ManifestEntry entry : Tables.entries(table, before)) {
            JsonNode positions = wanted.get(entry.file().fileName());
            if (positions == null) {
                continue;
            }
            left--;
            Place place = new Place(entry.partition(), bucketless ? -1 : entry.bucket());
            Object maintainer = maintainers.get(place);
            if (maintainer == null) {
                maintainer = maintainer(table, handler, place);
                maintainers.put(place, maintainer);
            }
            DeletionVector vector = vector(table);
            positions.forEach(position -> vector.delete(position.asLong()));
            call(maintainer, "notifyNewDeletionVector", entry.file().fileName(), vector);
        }
        if (left > 0) {
            throw new IllegalArgumentException(left + " of the files are not live");
        }
        List<CommitMessage> messages = new ArrayList<>();
        for (Map.Entry<Place, Object> one : maintainers.entrySet()) {
            messages.add(message(table, one.getKey(), one.getValue()));
        }
        try (BatchTableCommit commit = table.newBatchWriteBuilder().newCommit()) {
            commit.commit(messages);
        }
        Tables.newSnapshots(table, before, out);
    }

    private static DeletionVector vector(FileStoreTable table) throws ReflectiveOperationException {
        if (!"true".equals(table.options().get("deletion-vectors.bitmap64"))) {
            return new BitmapDeletionVector();
        }
        Class<?> wide = find(PACKAGE + "Bitmap64DeletionVector");
        return (DeletionVector) wide.getConstructor().newInstance();
    }

    private static Object maintainer(FileStoreTable table, IndexFileHandler handler, Place place)
            throws ReflectiveOperationException {
        Class<?> maker = find(MAINTAINERS);
        String name = place.bucket() == -1 ? "forUnawareAppend" : "forBucketedAppend";
        for (Method method : maker.getMethods()) {
            Class<?>[] parameters = method.getParameterTypes();
            if (!method.getName().equals(name) || parameters[1] == BinaryRow.class) {
                continue;
            }
            Object snapshot =
                    parameters[1] == Snapshot.class
                            ? table.snapshotManager().latestSnapshot()
                            : table.snapshotManager().latestSnapshotId();
            return place.bucket() == -1
                    ? method.invoke(null, handler, snapshot, place.partition())
                    : method.invoke(null, handler, snapshot, place.partition(), place.bucket());
        }
        throw new UnsupportedOperationException(name);
    }

    /** What a DELETE statement commits: index files come and go with the data part. */
    private static CommitMessage message(FileStoreTable table, Place place, Object maintainer)
            throws ReflectiveOperationException {
        List<IndexFileMeta> added = new ArrayList<>();
        List<IndexFileMeta> removed = new ArrayList<>();
        for (Object one : (List<?>) call(maintainer, "persist")) {
            IndexManifestEntry entry = (IndexManifestEntry) one;
            (entry.kind() == FileKind.ADD ? added : removed).add(entry.indexFile());
        }
        // The library counts the rows of tables without buckets in bucket 0.
        int bucket = Math.max(place.bucket(), 0);
        CompactIncrement nothing = new CompactIncrement(List.of(), List.of(), List.of());
        for (var maker : DataIncrement.class.getConstructors()) {
            if (maker.getParameterCount() == 5) {
                Object data =
                        maker.newInstance(List.of(), List.of(), List.of(), added, removed);
                return (CommitMessage)
                        largest(CommitMessageImpl.class)
                                .newInstance(
                                        place.partition(),
                                        bucket,
                                        table.coreOptions().bucket(),
                                        data,
                                        nothing);
            }
        }
        DataIncrement data = new DataIncrement(List.of(), List.of(), List.of());
        Class<?> increment = find("org.apache.paimon.io.IndexIncrement");
        Object index = increment.getConstructor(List.class, List.class).newInstance(added, removed);
        return (CommitMessage)
                largest(CommitMessageImpl.class)
                        .newInstance(place.partition(), bucket, data, nothing, index);
    }

    private static java.lang.reflect.Constructor<?> largest(Class<?> owner) {
        return Arrays.stream(owner.getConstructors())
                .max((one, other) -> one.getParameterCount() - other.getParameterCount())
                .orElseThrow();
    }

    // ---------------------------------------------------------------- packing

    /** One round of the library's packing of a table without buckets, tasks committed together. */
    private static void pack(JsonNode args, JsonGenerator out) throws Exception {
        Map<String, String> options = Args.map(args, "options");
        options.putIfAbsent("write-only", "false");
        FileStoreTable table = Tables.open(args, options);
        long before = Tables.latest(table);
        Object coordinator =
                find(COORDINATORS)
                        .getConstructor(FileStoreTable.class, boolean.class)
                        .newInstance(table, false);
        List<CommitMessage> messages = new ArrayList<>();
        FileStoreWrite<?> write = table.store().newWrite("pack");
        try {
            for (Object task : (List<?>) call(coordinator, "run")) {
                messages.add((CommitMessage) call(task, "doCompact", table, write));
            }
        } finally {
            write.close();
        }
        if (!messages.isEmpty()) {
            try (BatchTableCommit commit = table.newBatchWriteBuilder().newCommit()) {
                commit.commit(messages);
            }
        }
        Tables.newSnapshots(table, before, out);
    }

    // ---------------------------------------------------------------- reflection

    private static Class<?> find(String... names) {
        for (String name : names) {
            try {
                return Class.forName(name);
            } catch (ClassNotFoundException absent) {
                continue;
            }
        }
        throw new UnsupportedOperationException("no class " + names[0]);
    }

    private static Object call(Object target, String name, Object... values)
            throws ReflectiveOperationException {
        for (Method method : target.getClass().getMethods()) {
            if (method.getName().equals(name) && method.getParameterCount() == values.length) {
                return method.invoke(target, values);
            }
        }
        throw new UnsupportedOperationException(name);
    }
}
