package desilt.peer;

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.paimon.FileStore;
import org.apache.paimon.Snapshot;
import org.apache.paimon.consumer.Consumer;
import org.apache.paimon.consumer.ConsumerManager;
import org.apache.paimon.index.IndexFileHandler;
import org.apache.paimon.index.IndexFileMeta;
import org.apache.paimon.manifest.IndexManifestEntry;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.table.FileStoreTable;
import org.apache.paimon.table.sink.TableCommitImpl;
import org.apache.paimon.tag.TagAutoManager;
import org.apache.paimon.utils.Pair;

/** Operations on what holds snapshots of a table: tags, branches, consumers; and their expiry. */
final class Refs {
    private Refs() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("create_tag", Refs::createTag);
        operations.put("delete_tag", Refs::deleteTag);
        operations.put("rename_tag", Refs::renameTag);
        operations.put("replace_tag", Refs::replaceTag);
        operations.put("auto_tags", Refs::autoTags);
        operations.put("expire_tags", Refs::expireTags);
        operations.put("rollback", Refs::rollback);
        operations.put("create_branch", Refs::createBranch);
        operations.put("delete_branch", Refs::deleteBranch);
        operations.put("set_consumer", Refs::setConsumer);
        operations.put("refs", Refs::refs);
        operations.put("expire", Refs::expire);
        operations.put("rollback_as_latest", Refs::rollbackAsLatest);
        operations.put("index_entries", Refs::indexEntries);
    }

    /** The table as its branch sees it, with the request's options on top. */
    static FileStoreTable open(JsonNode args) {
        FileStoreTable table = Tables.open(args, Map.of());
        if (Args.has(args, "branch")) {
            table = table.switchToBranch(Args.text(args, "branch"));
        }
        Map<String, String> options = Args.map(args, "options");
        return options.isEmpty() ? table : table.copy(options);
    }

    private static ConsumerManager consumers(FileStoreTable table) {
        return new ConsumerManager(
                table.fileIO(), table.location(), table.snapshotManager().branch());
    }

    // ---------------------------------------------------------------- tags, branches, consumers

    private static void createTag(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        String tag = Args.text(args, "tag");
        if (Args.has(args, "snapshot")) {
            table.createTag(tag, args.get("snapshot").asLong(), retained(args));
        } else {
            table.createTag(tag, retained(args));
        }
        out.writeNull();
    }

    private static void deleteTag(JsonNode args, JsonGenerator out) throws Exception {
        open(args).deleteTag(Args.text(args, "tag"));
        out.writeNull();
    }

    private static Duration retained(JsonNode args) {
        if (Args.has(args, "retained_millis")) {
            return Duration.ofMillis(args.get("retained_millis").asLong());
        }
        return Args.has(args, "retained")
                ? Duration.ofMillis((long) (args.get("retained").asDouble() * 1000))
                : null;
    }

    private static void renameTag(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        String name = Args.text(args, "tag");
        named(table.getClass(), "renameTag").invoke(table, name, Args.text(args, "to"));
        out.writeNull();
    }

    private static void replaceTag(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        Long snapshot = Args.has(args, "snapshot") ? args.get("snapshot").asLong() : null;
        named(table.getClass(), "replaceTag")
                .invoke(table, Args.text(args, "tag"), snapshot, retained(args));
        out.writeNull();
    }

    /** What a writer that compacts runs after its commit, under one name or another. */
    private static TagAutoManager tagManager(FileStoreTable table) throws Exception {
        FileStore<?> store = table.store();
        for (Method method : store.getClass().getMethods()) {
            boolean named =
                    method.getName().equals("newTagAutoManager")
                            || method.getName().equals("newTagCreationManager");
            if (named && method.getParameterCount() == 0) {
                return (TagAutoManager) method.invoke(store);
            }
            if (named && method.getParameterCount() == 1) {
                return (TagAutoManager) method.invoke(store, table);
            }
        }
        throw new UnsupportedOperationException("automatic tags");
    }

    private static void autoTags(JsonNode args, JsonGenerator out) throws Exception {
        TagAutoManager manager = tagManager(open(args));
        if (manager.getTagAutoCreation() != null) {
            manager.getTagAutoCreation().run();
        }
        refs(args, out);
    }

    /** Tags that are over; only newer versions can without a commit. */
    private static void expireTags(JsonNode args, JsonGenerator out) throws Exception {
        Object expire =
                named(TagAutoManager.class, "getTagTimeExpire").invoke(tagManager(open(args)));
        if (Args.has(args, "older_than")) {
            Instant limit = Instant.ofEpochMilli(args.get("older_than").asLong());
            LocalDateTime local = LocalDateTime.ofInstant(limit, ZoneId.systemDefault());
            named(expire.getClass(), "withOlderThanTime").invoke(expire, local);
        }
        named(expire.getClass(), "expire").invoke(expire);
        refs(args, out);
    }

    private static void rollback(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        if (Args.has(args, "tag")) {
            table.rollbackTo(Args.text(args, "tag"));
        } else {
            table.rollbackTo(args.get("snapshot").asLong());
        }
        out.writeNull();
    }

    private static void createBranch(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = Tables.open(args, Map.of());
        if (Args.has(args, "tag")) {
            table.createBranch(Args.text(args, "branch"), Args.text(args, "tag"));
        } else {
            table.createBranch(Args.text(args, "branch"));
        }
        out.writeNull();
    }

    private static void deleteBranch(JsonNode args, JsonGenerator out) throws Exception {
        Tables.open(args, Map.of()).deleteBranch(Args.text(args, "branch"));
        out.writeNull();
    }

    private static void setConsumer(JsonNode args, JsonGenerator out) throws Exception {
        long next = Args.need(args, "next").asLong();
        consumers(open(args)).resetConsumer(Args.text(args, "consumer"), new Consumer(next));
        out.writeNull();
    }

    private static void refs(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        out.writeStartObject();
        out.writeObjectFieldStart("tags");
        for (Map.Entry<Snapshot, List<String>> tagged : table.tagManager().tags().entrySet()) {
            for (String name : tagged.getValue()) {
                out.writeNumberField(name, tagged.getKey().id());
            }
        }
        out.writeEndObject();
        out.writeArrayFieldStart("branches");
        for (String branch : table.branchManager().branches()) {
            out.writeString(branch);
        }
        out.writeEndArray();
        out.writeObjectFieldStart("consumers");
        for (Map.Entry<String, Long> consumer : consumers(table).consumers().entrySet()) {
            out.writeNumberField(consumer.getKey(), consumer.getValue());
        }
        out.writeEndObject();
        out.writeObjectField("earliest", table.snapshotManager().earliestSnapshotId());
        out.writeObjectField("latest", table.snapshotManager().latestSnapshotId());
        out.writeEndObject();
    }

    // ---------------------------------------------------------------- expiry

    /** What a writer does after its commit: snapshots, then changelogs where these live longer. */
    private static void expire(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        int snapshots =
                table.newExpireSnapshots().config(table.coreOptions().expireConfig()).expire();
        int changelogs = 0;
        if (table.coreOptions().changelogLifecycleDecoupled()) {
            changelogs =
                    table.newExpireChangelog().config(table.coreOptions().expireConfig()).expire();
        }
        out.writeStartObject();
        out.writeNumberField("snapshots", snapshots);
        out.writeNumberField("changelogs", changelogs);
        out.writeEndObject();
    }

    private static Method named(Class<?> type, String name) {
        return Arrays.stream(type.getMethods())
                .filter(found -> found.getName().equals(name))
                .findFirst()
                .orElseThrow(UnsupportedOperationException::new);
    }

    /** An old state published as the newest snapshot; only newer versions can. */
    private static void rollbackAsLatest(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        Object tags = table.tagManager();
        Method get = named(tags.getClass(), "getOrThrow");
        Method rollback = named(TableCommitImpl.class, "rollbackToAsLatest");
        try (TableCommitImpl commit = (TableCommitImpl) table.newCommit("rollback")) {
            rollback.invoke(commit, get.invoke(tags, Args.text(args, "tag")));
        }
        out.writeNumber(table.snapshotManager().latestSnapshotId());
    }

    // ---------------------------------------------------------------- index files

    private static void indexEntries(JsonNode args, JsonGenerator out) throws Exception {
        FileStoreTable table = open(args);
        Snapshot snapshot =
                Args.has(args, "snapshot")
                        ? table.snapshotManager().snapshot(args.get("snapshot").asLong())
                        : table.snapshotManager().latestSnapshot();
        out.writeStartArray();
        if (snapshot.indexManifest() != null) {
            IndexFileHandler handler = table.store().newIndexFileHandler();
            for (IndexManifestEntry entry : handler.readManifest(snapshot.indexManifest())) {
                indexEntry(entry, out);
            }
        }
        out.writeEndArray();
    }

    private static void indexEntry(IndexManifestEntry entry, JsonGenerator out) throws Exception {
        IndexFileMeta file = entry.indexFile();
        out.writeStartObject();
        out.writeStringField("partition", Values.rowHex(entry.partition()));
        out.writeNumberField("bucket", entry.bucket());
        out.writeStringField("type", file.indexType());
        out.writeStringField("name", file.fileName());
        out.writeNumberField("size", file.fileSize());
        out.writeNumberField("rowCount", file.rowCount());
        Map<?, ?> ranges = ranges(file);
        if (ranges == null) {
            out.writeNullField("deletions");
        } else {
            out.writeArrayFieldStart("deletions");
            for (Map.Entry<?, ?> range : ranges.entrySet()) {
                range(range, out);
            }
            out.writeEndArray();
        }
        out.writeObjectField("externalPath", text(file, "externalPath"));
        out.writeObjectField("globalIndex", global(file));
        out.writeEndObject();
    }

    /** Data file name to its range: a pair in one version, a record with cardinality in others. */
    private static Map<?, ?> ranges(IndexFileMeta file) throws ReflectiveOperationException {
        Method newer = find(file.getClass(), "dvRanges");
        Method method = newer == null ? find(file.getClass(), "deletionVectorsRanges") : newer;
        return (Map<?, ?>) method.invoke(file);
    }

    private static void range(Map.Entry<?, ?> range, JsonGenerator out) throws Exception {
        Object value = range.getValue();
        out.writeStartArray();
        out.writeString((String) range.getKey());
        if (value instanceof Pair) {
            out.writeObject(((Pair<?, ?>) value).getLeft());
            out.writeObject(((Pair<?, ?>) value).getRight());
            out.writeNull();
        } else {
            out.writeObject(find(value.getClass(), "offset").invoke(value));
            out.writeObject(find(value.getClass(), "length").invoke(value));
            out.writeObject(find(value.getClass(), "cardinality").invoke(value));
        }
        out.writeEndArray();
    }

    private static Object text(Object owner, String name) throws ReflectiveOperationException {
        Method method = find(owner.getClass(), name);
        return method == null ? null : method.invoke(owner);
    }

    /** The fields of a global index's own description by name, or null. */
    private static Map<String, Object> global(IndexFileMeta file)
            throws ReflectiveOperationException {
        Object meta = text(file, "globalIndexMeta");
        if (meta == null) {
            return null;
        }
        Map<String, Object> fields = new java.util.TreeMap<>();
        for (Field field : meta.getClass().getDeclaredFields()) {
            if (!java.lang.reflect.Modifier.isStatic(field.getModifiers())) {
                field.setAccessible(true);
                fields.put(field.getName(), field.get(meta));
            }
        }
        return fields;
    }

    private static Method find(Class<?> type, String name) {
        for (Method method : type.getMethods()) {
            if (method.getName().equals(name) && method.getParameterCount() == 0) {
                return method;
            }
        }
        return null;
    }
}
