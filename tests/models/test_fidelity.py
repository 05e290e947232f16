"""Our networks with the weights of the authors' package give the package's outputs, in float64."""

import pytest
import rtdl_revisiting_models as reference
import torch
from conftest import some_rows
from papers_networks import n_parameters

from tabdl import FTTransformerRegressor, TabMLPRegressor, TabMRegressor, TabResNetRegressor
from tabdl.data.table import Schema
from tabdl.embeddings import Linear
from tabdl.network.contract import init_weights

N_ROWS, N_OUTPUTS = 32, 3
CARDINALITIES = [2, 5, 17]


def build(estimator, n_num, cardinalities):
    schema = Schema(
        tuple(f"n{j}" for j in range(n_num)),
        tuple(f"c{j}" for j in range(len(cardinalities))),
        tuple(cardinalities),
    )
    net = estimator._build_net(schema, N_OUTPUTS, some_rows(schema)).double()
    init_weights(net, torch.Generator().manual_seed(0))
    return net.eval()


def rows(n_num, cardinalities):
    generator = torch.Generator().manual_seed(1)
    x_num = torch.randn(N_ROWS, n_num, generator=generator, dtype=torch.float64)
    columns = [torch.randint(c, (N_ROWS,), generator=generator) for c in cardinalities]
    x_cat = torch.stack(columns, 1) if columns else torch.empty(N_ROWS, 0, dtype=torch.int64)
    return x_num, x_cat


def copy_(ours, theirs):
    """Copy the weights of a layer that has the same parameters in both packages."""
    ours.load_state_dict(theirs.state_dict())


def perturb(module):
    """Move every parameter and running statistic away from values that would hide an error (zeros,
    ones)."""
    generator = torch.Generator().manual_seed(2)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))
    return module.double().eval()


def assert_equal(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_num, cardinalities", [(4, []), (0, CARDINALITIES), (4, CARDINALITIES)])
@pytest.mark.parametrize("n_blocks", [1, 3])
@pytest.mark.parametrize("n_heads", [1, 4])
def test_ft_transformer(n_num, cardinalities, n_blocks, n_heads):
    theirs = reference.FTTransformer(
        n_cont_features=n_num,
        cat_cardinalities=cardinalities,
        d_out=N_OUTPUTS,
        n_blocks=n_blocks,
        d_block=24,
        attention_n_heads=n_heads,
        attention_dropout=0.2,
        ffn_d_hidden=None,
        ffn_d_hidden_multiplier=4 / 3,
        ffn_dropout=0.1,
        residual_dropout=0.1,
    )
    perturb(theirs)
    ours = build(
        FTTransformerRegressor.paper_config(n_blocks=n_blocks, d_block=24, n_heads=n_heads),
        n_num,
        cardinalities,
    )
    with torch.no_grad():
        ours.embedding.cls.copy_(theirs.cls_embedding.weight)
        if n_num:
            copy_(ours.embedding.num, theirs.cont_embeddings)
        if cardinalities:
            ours.embedding.cat.weight.copy_(
                torch.cat([table.weight for table in theirs.cat_embeddings.embeddings])
            )
            ours.embedding.cat.bias.copy_(theirs.cat_embeddings.bias)
        for block, source in zip(ours.backbone.blocks, theirs.backbone.blocks, strict=True):
            attention = source["attention"]
            for name in ("weight", "bias"):
                parts = [
                    getattr(layer, name) for layer in (attention.W_q, attention.W_k, attention.W_v)
                ]
                getattr(block.attention.qkv, name).copy_(torch.cat(parts))
            if n_heads > 1:
                copy_(block.attention.out, attention.W_out)
            if "attention_normalization" in source:
                copy_(block.attention_norm, source["attention_normalization"])
            copy_(block.ffn_norm, source["ffn_normalization"])
            copy_(block.ffn.linear_in, source["ffn"].linear1)
            copy_(block.ffn.linear_out, source["ffn"].linear2)
        copy_(ours.head[0], theirs.backbone.output.normalization)
        copy_(ours.head[2], theirs.backbone.output.linear)
    x_num, x_cat = rows(n_num, cardinalities)
    expected, outputs = (
        theirs(x_num if n_num else None, x_cat if cardinalities else None),
        ours(x_num, x_cat).squeeze(1),
    )
    assert_equal(outputs, expected)
    direction = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    (outputs * direction).sum().backward()
    (expected * direction).sum().backward()
    assert_equal(ours.embedding.cls.grad, theirs.cls_embedding.weight.grad)
    if n_num:
        assert_equal(ours.embedding.num.weight.grad, theirs.cont_embeddings.weight.grad)
    if cardinalities:
        tables = [table.weight.grad for table in theirs.cat_embeddings.embeddings]
        assert_equal(ours.embedding.cat.weight.grad, torch.cat(tables))
    for block, source in zip(ours.backbone.blocks, theirs.backbone.blocks, strict=True):
        attention = source["attention"]
        for name in ("weight", "bias"):
            parts = [
                getattr(layer, name).grad for layer in (attention.W_q, attention.W_k, attention.W_v)
            ]
            assert_equal(getattr(block.attention.qkv, name).grad, torch.cat(parts))
        assert_equal(block.ffn.linear_in.weight.grad, source["ffn"].linear1.weight.grad)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("numeric_embedding", ["linear", Linear(activation=True), "piecewise"])
def test_ft_transformer_without_biases_of_tokens(numeric_embedding):
    """Tokens are those with biases of zero; embeddings that are not linear keep theirs."""
    settings = {"n_blocks": 2, "d_block": 24, "n_heads": 4, "numeric_embedding": numeric_embedding}
    ours = build(
        FTTransformerRegressor.paper_config(token_bias=False, **settings), 4, CARDINALITIES
    )
    biased = build(FTTransformerRegressor.paper_config(**settings), 4, CARDINALITIES)
    perturb(ours)
    missing, unexpected = biased.load_state_dict(ours.state_dict(), strict=False)
    linear = {"embedding.num.bias"} if numeric_embedding != "piecewise" else set()
    assert set(missing) == {"embedding.cat.bias"} | linear and not unexpected
    with torch.no_grad():
        for name in missing:
            biased.get_parameter(name).zero_()
    inputs = rows(4, CARDINALITIES)
    outputs, expected = ours(*inputs), biased(*inputs)
    assert_equal(outputs, expected)
    theirs = dict(biased.named_parameters())
    (outputs.square().sum() + expected.square().sum()).backward()
    for name, parameter in ours.named_parameters():
        assert_equal(parameter.grad, theirs[name].grad)


def test_size_of_the_papers_ft_transformer_without_biases():
    assert n_parameters("ft_transformer_no_bias", "california_housing") == 185_457


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_ft_transformer_postnorm(n_blocks):
    """No package has it with ReGLU; from the definition: ``norm(x + branch(x))`` in every block, no
    norm in the head."""
    estimator = FTTransformerRegressor.paper_config(
        n_blocks=n_blocks, d_block=24, n_heads=4, norm="post"
    )
    ours = perturb(build(estimator, 4, CARDINALITIES))
    x_num, x_cat = rows(4, CARDINALITIES)
    x = ours.embedding(x_num, x_cat)
    for block in ours.backbone.blocks:
        q, k, v = (
            t.unflatten(-1, (4, 6)).transpose(1, 2) for t in block.attention.qkv(x).chunk(3, -1)
        )
        mixed = (q @ k.transpose(-2, -1) / 6**0.5).softmax(-1) @ v
        x = block.attention_norm(x + block.attention.out(mixed.transpose(1, 2).flatten(-2)))
        a, b = block.ffn.linear_in(x).chunk(2, -1)
        x = block.ffn_norm(x + block.ffn.linear_out(a * b.relu()))
    expected, outputs = ours.head[-1](x[:, 0].relu()), ours(x_num, x_cat).squeeze(1)
    assert_equal(outputs, expected)
    theirs = torch.autograd.grad(expected.square().sum(), ours.parameters())
    for parameter, gradient in zip(
        torch.autograd.grad(outputs.square().sum(), ours.parameters()), theirs, strict=True
    ):
        torch.testing.assert_close(parameter, gradient, rtol=1e-8, atol=1e-8)


def flat_input(ours, x_num, x_cat, cardinalities):
    """Return the reference's input: the numbers beside the vectors that its CategoricalEmbeddings
    give with our weights."""
    if not cardinalities:
        return x_num
    embeddings = reference.CategoricalEmbeddings(
        cardinalities, ours.embedding.cat.weight.shape[1], bias=False
    ).double()
    with torch.no_grad():
        for table, weight in zip(
            embeddings.embeddings, ours.embedding.cat.weight.split(cardinalities), strict=True
        ):
            table.weight.copy_(weight)
    return torch.cat([x_num, embeddings(x_cat).flatten(1)], 1)


@pytest.mark.parametrize("n_num, cardinalities", [(4, []), (0, CARDINALITIES), (4, CARDINALITIES)])
def test_resnet(n_num, cardinalities):
    ours = build(
        TabResNetRegressor(
            numeric_embedding=None, n_blocks=3, d_block=16, d_hidden_multiplier=2.5, d_embedding=6
        ),
        n_num,
        cardinalities,
    )
    theirs = reference.ResNet(
        d_in=n_num + 6 * len(cardinalities),
        d_out=N_OUTPUTS,
        n_blocks=3,
        d_block=16,
        d_hidden_multiplier=2.5,
        dropout1=0.3,
        dropout2=0.1,
    )
    perturb(theirs)
    copy_(ours.backbone.projection, theirs.input_projection)
    for block, source in zip(ours.backbone.blocks, theirs.blocks, strict=True):
        copy_(block[0], source.normalization)
        copy_(block[1], source.linear1)
        copy_(block[4], source.linear2)
    copy_(ours.head[0], theirs.output.normalization)
    copy_(ours.head[2], theirs.output.linear)
    x_num, x_cat = rows(n_num, cardinalities)
    assert_equal(
        ours(x_num, x_cat).squeeze(1), theirs(flat_input(ours, x_num, x_cat, cardinalities))
    )


@pytest.mark.parametrize("n_num, cardinalities", [(4, []), (0, CARDINALITIES), (4, CARDINALITIES)])
def test_mlp(n_num, cardinalities):
    ours = build(
        TabMLPRegressor(numeric_embedding=None, n_blocks=3, d_block=16, d_embedding=6),
        n_num,
        cardinalities,
    )
    theirs = reference.MLP(
        d_in=n_num + 6 * len(cardinalities), d_out=N_OUTPUTS, n_blocks=3, d_block=16, dropout=0.1
    )
    perturb(theirs)
    for block, source in zip(ours.backbone, theirs.blocks, strict=True):
        copy_(block[0], source.linear)
    copy_(ours.head[0], theirs.output)
    x_num, x_cat = rows(n_num, cardinalities)
    assert_equal(
        ours(x_num, x_cat).squeeze(1), theirs(flat_input(ours, x_num, x_cat, cardinalities))
    )


def test_decayed_parameters_are_the_references():
    """Weight decay acts on the same number of weights as in the package's own optimizer."""
    from tabdl.network.contract import decayed_names

    theirs = reference.FTTransformer(
        n_cont_features=4,
        cat_cardinalities=CARDINALITIES,
        d_out=N_OUTPUTS,
        **reference.FTTransformer.get_default_kwargs(),
    )
    ours = build(FTTransformerRegressor.paper_config(), 4, CARDINALITIES)
    decayed = sum(p.numel() for name, p in ours.named_parameters() if name in decayed_names(ours))
    sizes = [
        [(0.0, sum(p.numel() for p in ours.parameters()) - decayed), (1.0, decayed)],
        sorted(
            (g.get("weight_decay", 1.0), sum(p.numel() for p in g["params"]))
            for g in theirs.make_parameter_groups()
        ),
    ]
    # The package puts the last normalisation's weight (not its bias) with the decayed ones; the
    # paper says none on norms.
    last_norm = theirs.backbone.output.normalization.weight.numel()
    assert sizes[0] == [(0.0, sizes[1][0][1] + last_norm), (1.0, sizes[1][1][1] - last_norm)]


@pytest.mark.parametrize("arch", ["tabm", "tabm-mini", "tabm-packed"])
@pytest.mark.parametrize("separate_batches", [False, True])
def test_tabm(arch, separate_batches):
    """The weights of the tabm package, one batch for all k or a batch each; outputs and
    gradients."""
    import tabm

    k, cardinalities = 5, [2, 5, 17]
    model = TabMRegressor(
        arch=arch, k=k, n_blocks=2, d_block=24, dropout=0.0, numeric_embedding=None
    )
    ours = build(model, 4, [c + 1 for c in cardinalities]).train(
        separate_batches
    )  # one more code, for unknown values
    init = None if arch == "tabm-packed" else "random-signs"
    sizes = {
        "n_blocks": 2,
        "d_block": 24,
        "dropout": 0.0,
        "k": k,
        "arch_type": arch,
        "start_scaling_init": init,
    }
    theirs = (
        tabm.TabM(n_num_features=4, cat_cardinalities=cardinalities, d_out=N_OUTPUTS, **sizes)
        .double()
        .train(separate_batches)
    )
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    names = dict(theirs.named_parameters())
    if arch == "tabm-mini":
        pairs = [(ours.backbone[0].weight, "backbone.affine.weight")]
    else:
        pairs = [(ours.backbone[0].weight, "backbone.blocks.0.0.r")] if arch == "tabm" else []
    for i in range(2):
        layer = ours.backbone[3 * i + (arch != "tabm-packed")]
        pairs += [(p, f"backbone.blocks.{i}.0.{name}") for name, p in layer.named_parameters()]
    pairs += [(ours.head.weight, "output.weight"), (ours.head.bias, "output.bias")]
    assert len(pairs) == len(names) == len(list(ours.parameters()))
    with torch.no_grad():
        for mine, name in pairs:
            mine.copy_(names[name])
    x_num, x_cat = rows(4, cardinalities)
    n = N_ROWS // k * k
    if separate_batches:
        x_num, x_cat = x_num[:n], x_cat[:n]
        expected = (
            theirs(x_num.unflatten(0, (-1, k)), x_cat.unflatten(0, (-1, k)))
            .flatten(0, 1)
            .unsqueeze(1)
        )
    else:
        expected = theirs(x_num, x_cat)
    outputs = ours(x_num, x_cat)
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)
    outputs.square().sum().backward()
    expected.square().sum().backward()
    for mine, name in pairs:
        torch.testing.assert_close(mine.grad, names[name].grad, rtol=1e-9, atol=1e-9)
