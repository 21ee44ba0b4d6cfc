package desilt.peer;

import java.io.IOException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.paimon.Snapshot;
import org.apache.paimon.deletionvectors.DeletionVector;
import org.apache.paimon.index.IndexFileHandler;
import org.apache.paimon.index.IndexFileMeta;
import org.apache.paimon.manifest.IndexManifestEntry;
import org.apache.paimon.manifest.ManifestEntry;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.table.FileStoreTable;
import org.apache.paimon.utils.Pair;

/** Index manifests and deletion vectors as the library decodes them. */
final class Vectors {
    private static final String VECTORS = "DELETION_VECTORS";
    /** More rows than any file of a test has, for vectors of files that are gone. */
    private static final int ENOUGH_ROWS = 1 << 16;

    private Vectors() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("index_files", Vectors::indexFiles);
    }

    /** The entries of a snapshot's index manifest, those of vectors with the deleted positions. */
    private static void indexFiles(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = Tables.open(args, Map.of());
        long id = Args.has(args, "snapshot") ? args.get("snapshot").asLong() : Tables.latest(table);
        Snapshot snapshot = id == 0 ? null : table.snapshotManager().snapshot(id);
        out.writeStartArray();
        if (snapshot != null && snapshot.indexManifest() != null) {
            Map<String, Long> rows = rowCounts(table, id);
            IndexFileHandler handler = table.store().newIndexFileHandler();
            for (IndexManifestEntry entry : handler.readManifest(snapshot.indexManifest())) {
                writeEntry(handler, entry, rows, out);
            }
        }
        out.writeEndArray();
    }

    private static Map<String, Long> rowCounts(FileStoreTable table, long snapshot) {
        Map<String, Long> found = new HashMap<>();
        for (ManifestEntry entry : Tables.entries(table, snapshot)) {
            found.put(entry.file().fileName(), entry.file().rowCount());
        }
        return found;
    }

    private static void writeEntry(
            IndexFileHandler handler,
            IndexManifestEntry entry,
            Map<String, Long> rows,
            JsonGenerator out)
            throws IOException, ReflectiveOperationException {
        IndexFileMeta file = entry.indexFile();
        out.writeStartObject();
        out.writeStringField("kind", entry.kind().name());
        out.writeStringField("partition", Values.rowHex(entry.partition()));
        out.writeNumberField("bucket", entry.bucket());
        out.writeStringField("type", file.indexType());
        out.writeStringField("name", file.fileName());
        out.writeNumberField("size", file.fileSize());
        out.writeNumberField("rowCount", file.rowCount());
        out.writeArrayFieldStart("ranges");
        if (file.indexType().equals(VECTORS)) {
            for (Range range : ranges(file)) {
                range.write(out);
            }
        }
        out.writeEndArray();
        out.writeObjectFieldStart("deleted");
        if (file.indexType().equals(VECTORS)) {
            for (Map.Entry<String, DeletionVector> one : vectors(handler, entry).entrySet()) {
                long count = rows.getOrDefault(one.getKey(), (long) ENOUGH_ROWS);
                writePositions(one.getKey(), one.getValue(), count, out);
            }
        }
        out.writeEndObject();
        out.writeEndObject();
    }

    private static void writePositions(
            String name, DeletionVector vector, long count, JsonGenerator out) throws IOException {
        out.writeArrayFieldStart(name);
        for (long position = 0; position < count; position++) {
            if (vector.isDeleted(position)) {
                out.writeNumber(position);
            }
        }
        out.writeEndArray();
    }

    /** Where one data file's vector lies; older versions keep no cardinality. */
    private record Range(String file, int offset, int length, Long cardinality) {
        void write(JsonGenerator out) throws IOException {
            out.writeStartObject();
            out.writeStringField("file", file);
            out.writeNumberField("offset", offset);
            out.writeNumberField("length", length);
            out.writeObjectField("cardinality", cardinality);
            out.writeEndObject();
        }
    }

    private static List<Range> ranges(IndexFileMeta file) throws ReflectiveOperationException {
        List<Range> found = new ArrayList<>();
        Method newer = method(IndexFileMeta.class, "dvRanges");
        if (newer == null) {
            Method older = method(IndexFileMeta.class, "deletionVectorsRanges");
            Map<?, ?> ranges = (Map<?, ?>) older.invoke(file);
            ranges.forEach(
                    (name, place) -> {
                        Pair<?, ?> at = (Pair<?, ?>) place;
                        int offset = (Integer) at.getLeft();
                        found.add(new Range((String) name, offset, (Integer) at.getRight(), null));
                    });
            return found;
        }
        for (Object meta : ((Map<?, ?>) newer.invoke(file)).values()) {
            Class<?> type = meta.getClass();
            found.add(
                    new Range(
                            (String) type.getMethod("dataFileName").invoke(meta),
                            (Integer) type.getMethod("offset").invoke(meta),
                            (Integer) type.getMethod("length").invoke(meta),
                            (Long) type.getMethod("cardinality").invoke(meta)));
        }
        return found;
    }

    @SuppressWarnings("unchecked")
    private static Map<String, DeletionVector> vectors(
            IndexFileHandler handler, IndexManifestEntry entry)
            throws ReflectiveOperationException {
        for (Method method : IndexFileHandler.class.getMethods()) {
            if (!method.getName().equals("readAllDeletionVectors")) {
                continue;
            }
            Class<?>[] parameters = method.getParameterTypes();
            if (parameters[0] == IndexManifestEntry.class) {
                return (Map<String, DeletionVector>) method.invoke(handler, entry);
            }
            if (parameters.length == 1 && Collection.class.isAssignableFrom(parameters[0])) {
                List<IndexFileMeta> files = List.of(entry.indexFile());
                return (Map<String, DeletionVector>) method.invoke(handler, files);
            }
        }
        throw new UnsupportedOperationException("reading deletion vectors");
    }

    /** A public method of that name, or null in versions that have none. */
    private static Method method(Class<?> owner, String name) {
        for (Method found : owner.getMethods()) {
            if (found.getName().equals(name)) {
                return found;
            }
        }
        return null;
    }
}
