using System.Globalization;
using SslResearch.Core.Runtime;

namespace SslResearch.Benchmarks;

/// <summary>Our sides of the cases, each run in a process of its own: <c>measure NAME [ARGUMENTS…] --seconds S --steps N</c>.</summary>
internal static class OurSide
{
    public static Measurement Run(IReadOnlyList<string> words, double seconds, int steps)
    {
        TorchRuntime.Initialise(threads: 2);
        return words switch
        {
            ["augmentation", var size, var output] => AugmentationSide.Run(Number(size), Number(output), seconds),
            ["update", "fused"] => UpdateSide.Fused(seconds),
            ["update", "torchsharp"] => UpdateSide.TorchSharp(seconds),
            ["step"] => TrainingSide.Step(seconds),
            ["pretraining"] => TrainingSide.Pretraining(seconds),
            ["wait"] => TrainingSide.Wait(seconds),
            ["overhead", var method] => OverheadCases.Run(method, seconds),
            ["masked-encoder", var model, var size, var percent] => MaskedSide.Encoder(model, Number(size), Number(percent) / 100.0, seconds),
            ["kernel", var name, var side] => KernelSide.Run(name, side == KernelSide.Ours, seconds),
            ["masking"] => MaskedSide.Overhead(seconds),
            ["memory"] => TrainingSide.Memory(steps),
            _ => throw new ArgumentException($"No such measurement: {string.Join(' ', words)}."),
        };
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
