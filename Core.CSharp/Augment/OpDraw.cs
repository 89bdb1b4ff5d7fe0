namespace SslResearch.Core.Augment;

/// <summary>What one operation drew for one view. Each operation uses only its own fields; the others stay 0.</summary>
public readonly record struct OpDraw
{
    /// <summary>False where the operation leaves the image as it is.</summary>
    public bool Applied { get; init; }

    /// <summary>First row of the crop box.</summary>
    public int Top { get; init; }

    /// <summary>First column of the crop box.</summary>
    public int Left { get; init; }

    /// <summary>Rows of the crop box.</summary>
    public int Height { get; init; }

    /// <summary>Columns of the crop box.</summary>
    public int Width { get; init; }

    /// <summary>Quarter turns counter-clockwise, 1 to 3.</summary>
    public int Turns { get; init; }

    /// <summary>Brightness factor, 1 = unchanged.</summary>
    public float Brightness { get; init; }

    /// <summary>Contrast factor, 1 = unchanged.</summary>
    public float Contrast { get; init; }

    /// <summary>Saturation factor, 1 = unchanged.</summary>
    public float Saturation { get; init; }

    /// <summary>Turn of the hue, in parts of the whole circle, -0.5 to 0.5.</summary>
    public float Hue { get; init; }

    /// <summary>Order of the four colour steps, one hexadecimal digit each from the right: 0 brightness, 1 contrast, 2 saturation, 3 hue.</summary>
    public int Order { get; init; }

    /// <summary>Blur radius in pixels: the standard deviation.</summary>
    public float Sigma { get; init; }

    /// <summary>The colour step at place <paramref name="place"/> (0 to 3) of <see cref="Order"/>.</summary>
    public int StepAt(int place) => (Order >> (4 * place)) & 15;
}
