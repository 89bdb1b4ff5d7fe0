/// What the words of BEiT's tokenizer are worth: real ones beside the same words dealt out at random. The trainings are those of `compare`.
module Recipes.BeitWords

open SslResearch

/// Two more seeds than the comparison: the control's scores scatter.
let setting = { Compare.masked with Seeds = [ 0..4 ] }

let recipe =
    {
        Name = "beit-words"
        Summary = "Shapes: BEiT on the words of its tokenizer, and on the same words shuffled"
        Tables =
            [
                Table.compare
                    "BEiT by its words"
                    [
                        Run.randomInit setting
                        MaskedCpu.beit.Run setting
                        MaskedCpu.beitShuffled.Run setting
                    ]
                    setting.Protocols
            ]
    }
