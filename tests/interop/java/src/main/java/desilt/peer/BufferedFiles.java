package desilt.peer;

import java.io.IOException;
import java.nio.ByteBuffer;
import org.apache.paimon.fs.Path;
import org.apache.paimon.fs.SeekableInputStream;
import org.apache.paimon.fs.local.LocalFileIO;

/**
 * The local file system, with a buffer in front of small metadata files.
 *
 * <p>The library reads the heads of manifests byte by byte, a system call each, which took most of
 * the time of short tests. Data files are left to the library's own way of reading.
 */
final class BufferedFiles extends LocalFileIO {
    private static final long serialVersionUID = 1L;

    @Override
    public SeekableInputStream newInputStream(Path path) throws IOException {
        SeekableInputStream plain = super.newInputStream(path);
        String directory = path.getParent().getName();
        boolean metadata = directory.equals("manifest") || directory.equals("index");
        return metadata ? new Buffered(plain) : plain;
    }

    private static final class Buffered extends SeekableInputStream {
        private final SeekableInputStream plain;
        /** What was read ahead; the plain stream stands at its limit. */
        private final ByteBuffer ahead = ByteBuffer.allocate(1 << 14).limit(0);

        Buffered(SeekableInputStream plain) {
            this.plain = plain;
        }

        @Override
        public void seek(long desired) throws IOException {
            ahead.position(0).limit(0);
            plain.seek(desired);
        }

        @Override
        public long getPos() throws IOException {
            return plain.getPos() - ahead.remaining();
        }

        @Override
        public int read() throws IOException {
            return fill() ? ahead.get() & 0xff : -1;
        }

        @Override
        public int read(byte[] into, int offset, int length) throws IOException {
            if (length == 0) {
                return 0;
            }
            if (!fill()) {
                return -1;
            }
            int count = Math.min(length, ahead.remaining());
            ahead.get(into, offset, count);
            return count;
        }

        /** False at the end of the file. */
        private boolean fill() throws IOException {
            if (!ahead.hasRemaining()) {
                ahead.clear();
                int count = plain.read(ahead.array(), 0, ahead.capacity());
                ahead.limit(Math.max(count, 0));
            }
            return ahead.hasRemaining();
        }

        @Override
        public void close() throws IOException {
            plain.close();
        }
    }
}
