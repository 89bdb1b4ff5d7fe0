using SslResearch.Core.Runtime;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>Updates by torch operations on the flat tensors: what runs on a GPU. Nothing is read back to the host.</summary>
internal sealed class TensorUpdate : IFlatUpdate
{
    private readonly FlatParameters parameters;
    private readonly IReadOnlyList<FlatTeacher> teachers;
    private readonly IReadOnlyList<torch.Tensor> state;
    private readonly OptimiserOptions options;
    private readonly torch.Tensor decays;
    private readonly torch.Tensor? segmentDecays;
    private readonly torch.Tensor? segmentAdapts;
    private readonly torch.Tensor? segmentOf;
    private readonly torch.Tensor? held;

    public TensorUpdate(FlatParameters parameters, IReadOnlyList<FlatTeacher> teachers, IReadOnlyList<torch.Tensor> state, OptimiserOptions options)
    {
        this.parameters = parameters;
        this.teachers = teachers;
        this.state = state;
        this.options = options;
        var device = parameters.Values.device;
        decays = FlatParameters.Zeros(parameters.Length, device);
        using var scope = torch.NewDisposeScope();
        foreach (var segment in parameters.Segments)
        {
            decays.narrow(0, segment.Offset, segment.Count).fill_(Scalars.Of(LocalRates.Decay(options, segment)));
        }

        if (parameters.Segments.Any(s => s.HasHeldRate))
        {
            held = FlatParameters.Zeros(parameters.Length, device);
            foreach (var segment in parameters.Segments.Where(s => s.HasHeldRate))
            {
                held.narrow(0, segment.Offset, segment.Count).fill_(Scalars.Of(1));
            }
        }

        if (options is LarsOptions lars)
        {
            var segments = parameters.Segments;
            segmentDecays = torch.tensor(segments.Select(s => (float)LocalRates.Decay(lars, s)).ToArray(), device: device).DetachFromDisposeScope();
            segmentAdapts = torch.tensor(segments.Select(s => LocalRates.Adapts(lars, s)).ToArray(), device: device).DetachFromDisposeScope();
            var owner = torch.zeros(parameters.Length, torch.int32, device);
            for (var i = 0; i < segments.Count; i++)
            {
                owner.narrow(0, segments[i].Offset, segments[i].End - segments[i].Offset).fill_(Scalars.Of(i));
            }

            segmentOf = owner.DetachFromDisposeScope();
        }
    }

    public void Run(in UpdateStep step, ReadOnlySpan<double> momenta)
    {
        if (momenta.Length != teachers.Count)
        {
            throw new ArgumentException($"expected {teachers.Count} momenta, one a teacher, received {momenta.Length}", nameof(momenta));
        }

        using var scope = torch.NewDisposeScope();
        var gradients = parameters.Gradients;
        if (step.ClipNorm is { } largest)
        {
            gradients.mul_(gradients.norm().add_(Scalars.Of(1e-6)).reciprocal_().mul_(Scalars.Of(largest)).clamp_(max: Scalars.Of(1)));
        }

        switch (options)
        {
            case SgdOptions o:
                gradients.addcmul_(decays, parameters.Values, Scalars.Of(1));
                Sgd(step, o.Momentum, o.Nesterov);
                break;
            case LarsOptions o:
                var local = Local(o, step);
                gradients.addcmul_(decays, parameters.Values, Scalars.Of(1));
                gradients.mul_(local.index_select(0, segmentOf!));
                Sgd(step, o.Momentum, o.Nesterov);
                break;
            case AdamWOptions o:
                Move(decays * parameters.Values, step, 1);
                Adam(o.Beta1, o.Beta2, o.Epsilon, step);
                break;
            case AdamOptions o:
                gradients.addcmul_(decays, parameters.Values, Scalars.Of(1));
                Adam(o.Beta1, o.Beta2, o.Epsilon, step);
                break;
        }

        gradients.zero_();
        for (var i = 0; i < teachers.Count; i++)
        {
            var student = parameters.Values.narrow(0, teachers[i].Start, teachers[i].Values.numel());
            teachers[i].Values.mul_(Scalars.Of(momenta[i])).add_(student, Scalars.Of(1 - momenta[i]));
        }
    }

    public void Dispose()
    {
        decays.Dispose();
        segmentDecays?.Dispose();
        segmentAdapts?.Dispose();
        segmentOf?.Dispose();
        held?.Dispose();
    }

    /// <summary>Subtracts rate · scale · direction, with each segment's own rate.</summary>
    private void Move(torch.Tensor direction, in UpdateStep step, double scale)
    {
        if (held is null)
        {
            parameters.Values.add_(direction, Scalars.Of(-step.Rate * scale));
        }
        else
        {
            parameters.Values.addcmul_(direction, held.mul(Scalars.Of(step.HeldRate - step.Rate)).add_(Scalars.Of(step.Rate)), Scalars.Of(-scale));
        }
    }

    private void Sgd(in UpdateStep step, double momentum, bool nesterov)
    {
        state[0].mul_(Scalars.Of(momentum)).add_(parameters.Gradients);
        var direction = nesterov ? parameters.Gradients.add_(state[0], Scalars.Of(momentum)) : state[0];
        Move(direction, step, 1);
    }

    private void Adam(double beta1, double beta2, double epsilon, in UpdateStep step)
    {
        var gradients = parameters.Gradients;
        state[0].mul_(Scalars.Of(beta1)).add_(gradients, Scalars.Of(1 - beta1));
        state[1].mul_(Scalars.Of(beta2)).addcmul_(gradients, gradients, Scalars.Of(1 - beta2));
        var denominator = state[1].sqrt().div_(Scalars.Of(Math.Sqrt(1 - Math.Pow(beta2, step.Number)))).add_(Scalars.Of(epsilon));
        Move(state[0] / denominator, step, 1 / (1 - Math.Pow(beta1, step.Number)));
    }

    /// <summary>(segments) float32, the tensor form of <see cref="LocalRates.Lars"/>.</summary>
    private torch.Tensor Local(LarsOptions lars, in UpdateStep step)
    {
        torch.Tensor Norms(torch.Tensor flat) =>
            torch.stack(parameters.Segments.Select(s => flat.narrow(0, s.Offset, s.Count).norm()).ToArray());

        var weight = Norms(parameters.Values);
        var gradient = lars.NormOfDecayedGradient
            ? Norms(parameters.Gradients.addcmul(decays, parameters.Values, Scalars.Of(1)))
            : Norms(parameters.Gradients);
        var denominator = (lars.NormOfDecayedGradient ? gradient : gradient + (segmentDecays! * weight)).add(Scalars.Of(lars.Epsilon));
        var local = weight.mul(Scalars.Of(lars.TrustCoefficient)) / denominator;
        if (lars.ClipRate)
        {
            var heldRate = step.HeldRate;
            var rate = step.Rate;
            var rates = torch.tensor(parameters.Segments.Select(s => (float)(s.HasHeldRate ? heldRate : rate)).ToArray(), device: local.device);
            local = (local / rates).clamp(max: Scalars.Of(1));
        }

        var one = torch.ones_like(weight);
        local = torch.where(gradient == Scalars.Of(0), torch.zeros_like(weight), local);
        local = torch.where(weight == Scalars.Of(0), one, local);
        return torch.where(segmentAdapts!, local, one);
    }
}
