"""A live model follows the one that Hugging Face's Trainer trains."""
import importlib.util
import tempfile
import unittest
from pathlib import Path

import liveweight
from sample import FIRST

HAS_TRAINER = all(importlib.util.find_spec(package) for package in ("torch", "transformers", "accelerate"))


@unittest.skipUnless(HAS_TRAINER, "torch, transformers and accelerate are not installed")
class PushCallback(unittest.TestCase):
    def train(self, url_or_model, steps, every):
        import torch
        from transformers import LlamaForCausalLM, Trainer, TrainingArguments

        from liveweight.transformers import PushCallback
        model = LlamaForCausalLM.from_pretrained(FIRST, dtype=torch.float32)
        rows = [{"input_ids": torch.tensor([1, 50 + i, 60]), "labels": torch.tensor([1, 50 + i, 60])} for i in range(8)]
        callback = PushCallback(url_or_model, every=every)
        with tempfile.TemporaryDirectory() as directory:
            arguments = TrainingArguments(directory, max_steps=steps, per_device_train_batch_size=4, learning_rate=1e-3,
                                          report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True)
            Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[callback]).train()
            model.to(torch.bfloat16).save_pretrained(directory)
            cold = liveweight.Model.load(directory, quant="int8_per_channel").digest()
        return callback, cold

    def test_the_live_model_follows_the_trainer(self):
        live = liveweight.Model.load(FIRST, quant="int8_per_channel")
        callback, cold = self.train(live, steps=4, every=2)
        self.assertEqual((live.version.number, live.version.label), (3, "step 4"))
        self.assertEqual(callback.report.version, live.version)
        self.assertEqual(live.digest(), cold)

    def test_the_last_step_is_pushed_although_it_is_not_due(self):
        live = liveweight.Model.load(FIRST, quant="int8_per_channel")
        _, cold = self.train(live, steps=3, every=2)
        self.assertEqual((live.version.number, live.version.label), (3, "step 3"))
        self.assertEqual(live.digest(), cold)

    def test_a_directory_of_versions_has_a_checkpoint_and_deltas_that_lead_to_what_was_trained(self):
        with tempfile.TemporaryDirectory() as directory:
            versions = Path(directory, "ver sions")
            _, cold = self.train(versions.as_uri(), steps=5, every=2)
            self.assertEqual(sorted(path.name for path in versions.iterdir()), ["step_2", "step_4", "step_5"])
            live = liveweight.Model.load(versions / "step_2", quant="int8_per_channel", mirror=True)
            live.reload(versions / "step_4")
            live.reload(versions / "step_5")
            self.assertEqual((live.version.label, live.digest()), ("5", cold))

    def test_a_version_that_is_there_already_ends_the_training_and_stays(self):
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "step_1").mkdir()
            with self.assertRaises(FileExistsError):
                self.train(Path(directory).as_uri(), steps=1, every=1)
            self.assertEqual(list(Path(directory).rglob("*")), [Path(directory, "step_1")])

    def test_arguments_are_checked(self):
        from liveweight.transformers import PushCallback
        for wrong in ("http://localhost", "versions", "file://elsewhere/versions", "file:"):
            with self.assertRaises(ValueError):
                PushCallback(wrong)
        with self.assertRaises(TypeError):
            PushCallback(None)
        with self.assertRaises(ValueError):
            PushCallback(liveweight.Model.load(FIRST), every=0)


if __name__ == "__main__":
    unittest.main()
