using SslResearch.Core.Methods;
using SslResearch.Core.Models;
using SslResearch.Core.Training;
using TorchSharp;

namespace SslResearch.Benchmarks;

/// <summary>SGD with momentum and weight decay, a moving average of the weights, and zeroing of gradients, for ResNet-18.</summary>
internal static class UpdateSide
{
    private const double Rate = 0.01, Momentum = 0.9, Decay = 5e-4, Average = 0.99;

    public static Measurement Fused(double seconds)
    {
        using var student = Initialised();
        using var teacher = Initialised();
        using var flat = FlatParameters.Create([("encoder", student)]);
        using var follower = FlatTeacher.Create(new MovingAverage("teacher", student, teacher, _ => Average), flat);
        using var optimiser = new FusedOptimiser(flat, [follower], new SgdOptions(Momentum, false, Decay, true), null);
        Gradients(student);
        double[] momenta = [Average];
        return Stopwatches.Measure(
            () =>
            {
                using var scope = torch.NewDisposeScope();
                optimiser.Step(Rate, momenta);
            },
            "updates/s",
            1,
            seconds);
    }

    public static Measurement TorchSharp(double seconds)
    {
        using var student = Initialised();
        using var teacher = Initialised();
        using var optimiser = torch.optim.SGD(student.parameters(), Rate, momentum: Momentum, weight_decay: Decay);
        var pairs = teacher.parameters().Zip(student.parameters()).ToArray();
        student.parameters().ToList().ForEach(p => p.grad = torch.zeros_like(p));
        Gradients(student);
        return Stopwatches.Measure(
            () =>
            {
                using var scope = torch.NewDisposeScope();
                optimiser.step();
                using (torch.no_grad())
                {
                    foreach (var (target, source) in pairs)
                    {
                        target.mul_(Average).add_(source, alpha: 1 - Average);
                    }
                }

                optimiser.zero_grad();
            },
            "updates/s",
            1,
            seconds);
    }

    private static ResNet Initialised()
    {
        var network = Networks.ResNet18(64);
        SeededInitialisation.Apply(network, 0);
        return network;
    }

    private static void Gradients(ResNet network)
    {
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        foreach (var parameter in network.parameters())
        {
            parameter.grad!.normal_(0, 1e-3);
        }
    }
}
