using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using SslResearch.Core.Runtime;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>Writes safetensors files. Tensors are ordered by element size, then name, so that each is aligned to its elements, as the format's own writer does.</summary>
public static partial class Safetensors
{
    /// <summary>
    /// Metadata key under which <see cref="Write"/> stores the SHA-256 of the whole file, its own digits taken as zeros: the format itself protects neither header nor data.
    /// </summary>
    public const string HashKey = "file_sha256";

    /// <summary>Zeros in place of the hash, as it is counted in itself.</summary>
    internal static readonly string BlankHash = new('0', SHA256.HashSizeInBytes * 2);

    private const int OpenReadOnly = 0;

    /// <summary>
    /// Writes a file so that under its final name there is never anything but a complete one: temporary file beside it, fsync, rename, fsync of the folder.
    /// </summary>
    /// <param name="path">Final name.</param>
    /// <param name="tensors">Tensors by name: any layout and device, types F64, I64, F32, I32, F16, BF16, I16, U8, I8, BOOL.</param>
    /// <param name="metadata">Free texts for the header; <see cref="HashKey"/> is added.</param>
    /// <exception cref="SafetensorsException">A type that the format lacks, or the disk refuses.</exception>
    public static void Write(string path, IEnumerable<KeyValuePair<string, torch.Tensor>> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentNullException.ThrowIfNull(metadata);
        var temporary = $"{path}.{Environment.ProcessId}.tmp";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.ReadWrite, FileShare.None, 1 << 16))
            {
                Write(stream, path, tensors, metadata);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
            SyncFolder(Path.GetDirectoryName(Path.GetFullPath(path))!);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SafetensorsException(path, $"cannot be written ({e.Message})", e);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    private static void Write(FileStream stream, string path, IEnumerable<KeyValuePair<string, torch.Tensor>> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        var ordered = tensors
            .Select(t => (t.Key, t.Value, Format: SafetensorsTypes.Of(t.Value.dtype)
                ?? throw new SafetensorsException(path, $"tensor '{t.Key}' has the type {t.Value.dtype}; known are {SafetensorsTypes.Names}")))
            .OrderByDescending(t => t.Format.Size)
            .ThenBy(t => t.Key, StringComparer.Ordinal)
            .ToArray();

        // The hash is as long before as after it is known, so the header is written twice at the same length.
        var blank = Header(ordered, metadata, BlankHash);
        stream.Write(blank);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(blank);
        foreach (var (_, tensor, _) in ordered)
        {
            Append(stream, hash, tensor);
        }

        stream.Position = 0;
        stream.Write(Header(ordered, metadata, Convert.ToHexStringLower(hash.GetHashAndReset())));
    }

    private static byte[] Header(
        (string Name, torch.Tensor Tensor, (string Name, int Size) Format)[] tensors, IReadOnlyDictionary<string, string> metadata, string hash)
    {
        using var buffer = new MemoryStream();
        buffer.Write(stackalloc byte[8]);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            foreach (var (key, text) in metadata.OrderBy(m => m.Key, StringComparer.Ordinal))
            {
                json.WriteString(key, text);
            }

            json.WriteString(HashKey, hash);
            json.WriteEndObject();
            var position = 0L;
            foreach (var (name, tensor, format) in tensors)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", format.Name);
                json.WriteStartArray("shape");
                foreach (var size in tensor.shape)
                {
                    json.WriteNumberValue(size);
                }

                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(position);
                json.WriteNumberValue(position += tensor.numel() * format.Size);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        while (buffer.Length % 8 != 0)
        {
            buffer.WriteByte((byte)' ');
        }

        var bytes = buffer.ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, (ulong)bytes.Length - 8);
        return bytes;
    }

    private static unsafe void Append(FileStream stream, IncrementalHash hash, torch.Tensor tensor)
    {
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        var dense = tensor.detach().cpu().contiguous();
        var bytes = dense.numel() * dense.element_size();
        var pointer = bytes == 0 ? null : (byte*)Aten.DataPointer(dense);
        for (var done = 0L; done < bytes;)
        {
            var part = new ReadOnlySpan<byte>(pointer + done, (int)Math.Min(bytes - done, 1 << 22));
            stream.Write(part);
            hash.AppendData(part);
            done += part.Length;
        }
    }

    /// <summary>Makes a rename in a folder durable; a system that cannot (Windows) makes renames durable itself.</summary>
    internal static void SyncFolder(string folder)
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        var file = open(folder, OpenReadOnly);
        if (file < 0)
        {
            throw new IOException($"cannot open the folder {folder} (errno {Marshal.GetLastPInvokeError()})");
        }

        try
        {
            if (fsync(file) != 0)
            {
                throw new IOException($"cannot sync the folder {folder} (errno {Marshal.GetLastPInvokeError()})");
            }
        }
        finally
        {
            _ = close(file);
        }
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fsync(int file);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int close(int file);
}
