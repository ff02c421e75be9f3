"""The manifest of a folder of results."""

from rtslib.study import manifest


def test_outputs_hash_every_file_but_the_manifest(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_bytes(b"abc")
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "models" / "rgb").mkdir(parents=True)  # in a folder of one's own, runs lie beside the results
    (tmp_path / "models" / "rgb" / "model.pt").write_bytes(b"weights")
    sha_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert manifest.outputs(tmp_path) == {"tables/a.csv": sha_abc}
