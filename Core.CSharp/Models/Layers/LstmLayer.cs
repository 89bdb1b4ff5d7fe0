using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000): from x and the state h before,
/// i, f, o = sigmoid, g = tanh of linear maps; c ← f·c + i·g; h ← o·tanh(c). Starts with h = c = 0. The gates lie in the order i, f, g, o of
/// torch.nn.LSTM, with the one bias that its two add up to; weights start uniform on ±1/√in.
/// </summary>
public sealed class LstmLayer : nn.Module<Tensor, Tensor>
{
    private const int Gates = 4;

    private readonly int inputs;
    private readonly LinearLayer from_input;
    private readonly LinearLayer from_state;

    /// <summary>Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</summary>
    public LstmLayer(int inputs, int width)
        : base(nameof(LstmLayer))
    {
        this.inputs = inputs;
        from_input = new LinearLayer(inputs, Gates * width, hasBias: true);
        from_state = new LinearLayer(width, Gates * width, hasBias: false);
        register_module(nameof(from_input), from_input);
        register_module(nameof(from_state), from_state);
    }

    /// <summary>(M, T, in) to the states (M, T, width).</summary>
    public override Tensor forward(Tensor input)
    {
        if (Aten.Sizes(input) is not [_, > 0 and var steps, var received] || received != inputs)
        {
            throw new ArgumentException($"expected (M, T, {inputs}), received ({string.Join(", ", input.shape)})", nameof(input));
        }

        using var scope = NewDisposeScope();
        var seen = from_input.call(input).unbind(1); // T times (M, 4w)
        var states = new Tensor[steps];
        Tensor? state = null, cell = null;
        for (var t = 0; t < steps; t++)
        {
            var gates = (state is null ? seen[t] : seen[t].add(from_state.call(state))).chunk(Gates, 1); // (M, w)
            var added = gates[0].sigmoid().mul(gates[2].tanh());
            cell = cell is null ? added : gates[1].sigmoid().mul(cell).add(added);
            states[t] = state = gates[3].sigmoid().mul(cell.tanh());
        }

        return stack(states, 1).MoveToOuterDisposeScope();
    }
}
