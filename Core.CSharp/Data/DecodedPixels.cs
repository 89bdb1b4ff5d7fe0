namespace SslResearch.Core.Data;

/// <summary>A decoded image; disposing it gives its memory back.</summary>
/// <param name="bytes">At least as many as the image has.</param>
/// <param name="shape">(H, W, 3).</param>
internal sealed class DecodedPixels(NativeBytes bytes, ImageShape shape) : IDisposable
{
    /// <summary>(H, W, 3).</summary>
    public ImageShape Shape => shape;

    /// <summary>RGB.</summary>
    public Span<byte> Span => bytes.Span[..shape.Bytes];

    /// <summary>The same bytes as an image of another size; this one is not to be used any more.</summary>
    public DecodedPixels As(ImageShape other) => new(bytes, other);

    public void Dispose() => bytes.Dispose();
}
