namespace SslResearch.Core.Methods;

/// <summary>What <see cref="Dvae"/> holds its decoder's values to be.</summary>
public enum PixelLikelihood
{
    /// <summary>Normalised pixels, by mean squared error.</summary>
    SquaredError,

    /// <summary>Location and scale of a distribution of pixels, by <see cref="Losses.LogitLaplace"/>.</summary>
    LogitLaplace,
}

/// <summary>Choices of <see cref="Dvae"/>.</summary>
/// <param name="Vocabulary">V, at least 2.</param>
/// <param name="CodeWidth">Length of a word's vector.</param>
/// <param name="Decoder">Channels of each stage, from the words' map to the pixels: one more than there are doublings.</param>
/// <param name="DecoderBlocks">Residual blocks of each stage.</param>
/// <param name="NormLogits">Whether each word's logits are normalised over the positions of a batch.</param>
/// <param name="Pixels">What the decoder's values are.</param>
/// <param name="Temperature">τ of the first step.</param>
/// <param name="FinalTemperature">τ after its decay.</param>
/// <param name="TemperatureDecay">Part of the training over which τ goes from the one to the other, 0 … 1.</param>
/// <param name="KlWeight">Weight of a token's divergence beside the mean error of a value.</param>
/// <param name="KlWarmup">Part of the training over which that weight rises from 0, 0 … 1.</param>
/// <param name="ImageSize">Channels, height and width of the images that are stored: what the encoder's stride is found with.</param>
/// <param name="Mean">Of the images' normalisation, one for each channel.</param>
/// <param name="Std">Likewise.</param>
public sealed record DvaeOptions(
    int Vocabulary,
    int CodeWidth,
    IReadOnlyList<int> Decoder,
    int DecoderBlocks,
    bool NormLogits,
    PixelLikelihood Pixels,
    double Temperature,
    double FinalTemperature,
    double TemperatureDecay,
    double KlWeight,
    double KlWarmup,
    (int Channels, int Height, int Width) ImageSize,
    IReadOnlyList<double> Mean,
    IReadOnlyList<double> Std);
