using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>
/// A learning method: wires networks to a loss and owns everything that lives longer than a step (teacher, queue, centre, prototypes).
/// It is no nn.Module, so that nothing of that lands in the trained parameters by accident.
/// </summary>
/// <typeparam name="TViews">The batch type it learns from.</typeparam>
public interface ISslMethod<in TViews> : IDisposable
    where TViews : class, IViews
{
    /// <summary>The network that is evaluated.</summary>
    Backbone Encoder { get; }

    /// <summary>What follows the encoder and is dropped for evaluation, if there is such a head: h (N, d) to z (N, p).</summary>
    torch.nn.Module<torch.Tensor, torch.Tensor>? Projector { get; }

    /// <summary>Networks whose parameters are optimised, with the prefix of their names in checkpoints.</summary>
    IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <summary>Teachers: networks that follow a trained one by moving average. Part of the checkpoint.</summary>
    IReadOnlyList<MovingAverage> Teachers { get; }

    /// <summary>Prefixes of <see cref="Trained"/> whose learning rate stays at its peak, without warm-up or decay.</summary>
    IReadOnlyCollection<string> HeldRate => [];

    /// <summary>Other long-lived tensors by name (queue, centre, …), changed in place only. Part of the checkpoint.</summary>
    IReadOnlyDictionary<string, torch.Tensor> State { get; }

    /// <summary>Chance and collapsed values of the loss for batches of this many images; null where there is none.</summary>
    LossLevels Levels(int batchSize);

    /// <summary>Forward pass of one step.</summary>
    StepOutput Forward(TViews views, in StepContext context);

    /// <summary>Called after the parameter update, outside autograd: queues, centres.</summary>
    void AfterUpdate(in StepContext context);
}
