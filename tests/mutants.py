"""Do the tests bite? Small faults, put into the code one at a time.

    python tests/mutants.py [--only N,N-N] [--jobs 2]

Each mutant is a file, a text that occurs in it once, its replacement and the test that
must then fail. The checkout is copied; for each mutant a process, in which TensorFlow is
loaded already, changes its copy and runs that one test. No part of the suite: it takes
minutes.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
CAUGHT, SURVIVED, STALE, TIMEOUT = "caught", "SURVIVED", "TEXT IS GONE", "no end"
SECONDS = 900  # For a test; a mutant may never end.
# "@ file, file of tests", then mutants: text ==> replacement :: test. A line that is
# indented goes on with the one before; \n stands for a new line.
LIST = r"""
@ car_tf/losses.py tests/test_losses.py
divide_no_nan(total, tf.reduce_sum(valid_mask, axes))
    ==> divide_no_nan(total, tf.reduce_sum(tf.ones_like(valid_mask), axes))
    :: test_masked_mean_counts_valid_entries_alone
multiply_no_nan(values, valid_mask) ==> multiply(values, valid_mask)
    :: test_masked_mean_does_not_read_under_the_mask
-likelihood.log_prob(target) ==> likelihood.log_prob(target)
    :: test_cross_entropy_by_hand
kl_divergence(sample_mean, target) ==> kl_divergence(target, sample_mean)
    :: test_calibration_is_not_the_reverse_divergence
tfp.math.reduce_logmeanexp(sample_log_probs, axis=1)
    ==> tf.reduce_mean(sample_log_probs, axis=1)
    :: test_calibration_is_zero_where_the_mean_matches
- tf.reduce_sum(tf.square(change), 1) ==>  :: test_paired_calibration_by_hand
tf.linalg.set_diag(within, tf.zeros_like(within[..., 0])) ==> within
    :: test_energy_has_no_gradient_of_a_sample_against_itself
samples[..., 1:], labels[..., 1:] ==> samples, labels :: test_energy_by_hand
within / (num * (num - 1)) ==> within / num**2 :: test_energy_by_hand
return 0.5 * sum( ==> return sum( :: test_r1_penalty_by_hand
softplus(-fake_logits) ==> softplus(fake_logits) :: test_adversarial_by_hand
real_logits_loss(real_logits) + ==> 0 * real_logits_loss(real_logits) +
    :: test_discriminator_by_hand
@ car_tf/losses.py tests/train/test_recalibration.py
(1.0 - 1.0 / num_samples) * spread ==> spread
    :: test_the_energy_of_level_sets_by_hand
smaller, larger), 1.0) ==> smaller, larger), 0.0)
    :: test_the_energy_of_level_sets_by_hand
@ car_tf/models/recalibration.py tests/models/test_recalibration.py
reverse=True)[:, 1:] ==> reverse=True)[:, :-1]
    :: test_until_it_is_fitted_nothing_changes
(second - first) + logit - inside ==> (second - first)
    :: test_a_logit_becomes_that_of_the_share_of_levels_below_it
@ car_tf/train/recalibration.py tests/train/test_recalibration.py
layer.reset()\n    areas, ==> areas,
    :: test_whole_masks_become_as_likely_as_raters_draw_them
np.maximum(features.std(0), 0.1) ==> features.std(0) + 1e-6
    :: test_whole_masks_become_as_likely_as_raters_draw_them
sets, known) - shared ==> sets, known)
    :: test_hidden_pixels_and_absent_raters_do_not_count
@ car_tf/train/selection.py tests/train/test_recalibration.py
and "recalibrated" not in best ==> and best
    :: test_the_best_weights_are_recalibrated_once
@ car_tf/losses.py tests/models/test_cvae.py
tf.reduce_sum(kl, axis=1) ==> tf.reduce_mean(kl, axis=1)
    :: test_the_complexity_is_the_kl_of_gaussians_from_the_standard_one
@ car_tf/train/stage1.py tests/train/test_trainers.py
loss = tf.nn.compute_average_loss(per_image) ==> loss = tf.reduce_sum(per_image)
    :: test_stage_1_descends_the_mean_loss_of_the_batch_with_coupled_l2
label, valid_mask)\n            per ==> label)\n            per
    :: test_an_image_without_a_labelled_pixel_adds_nothing
variables, l2=self.l2 ==> variables, l2=0.0
    :: test_stage_1_descends_the_mean_loss_of_the_batch_with_coupled_l2
step_seed(self.seed, self.step) ==> step_seed(self.seed, 0)
    :: test_the_dropout_of_stage_1_changes_from_step_to_step
@ car_tf/train/stage2.py tests/train/test_stage2.py
self.energy_weight * energy ==> 0.0 * energy
    :: test_the_energy_of_the_samples_is_a_term_of_its_own_weight
return probs + tf.stop_gradient(hard - probs) ==> return hard
    :: test_hard_samples_are_one_hot_with_the_gradient_of_probabilities
seed=self.seed,\n            step=self.step,
    ==> seed=self.seed,\n            step=0 * self.step,
    :: test_every_step_draws_noise_of_its_own
return self.r1_every * losses ==> return losses
    :: test_r1_comes_every_so_many_steps_as_many_times_as_large
now = self.step % self.r1_every == 0 ==> now = True
    :: test_r1_comes_every_so_many_steps_as_many_times_as_large
target = tfp.distributions.Categorical(logits=log_probs)
    ==> target = tfp.distributions.Categorical(probs=0.99 * real[:, 0] + 1e-3)
    :: test_lcal_holds_the_mean_of_the_samples_against_f
losses.calibration(sample_mean, target, valid_mask)
    ==> losses.calibration(sample_mean, target)
    :: test_lcal_holds_the_mean_of_the_samples_against_f
self.refinement_net.draws(log_probs, noise)
    ==> self.refinement_net.draws(log_probs, -noise)
    :: test_the_paired_loss_takes_the_draws_of_the_samples_own_noise
losses.paired_calibration(maps, draws,
    ==> losses.paired_calibration(tf.nn.softmax(logits), draws,
    :: test_the_paired_loss_takes_the_draws_of_the_samples_own_noise
optimization.update(self.generator_optimizer, gradients
    ==> optimization.update(self.generator_optimizer, [0 * g for g in gradients]
    :: test_g_comes_nearer_to_f_and_deceives_d
heads = self.discriminator.heads(image, view(part))
    ==> heads = self.discriminator.heads(image, part)
    :: test_d_sees_images_labels_and_samples_changed_alike
view(image), view(real), view(samples) ==> view(image), real, view(samples)
    :: test_d_sees_images_labels_and_samples_changed_alike
_mean([losses.adversarial(head) for head in heads]) ==> losses.adversarial(heads[0])
    :: test_losses_of_d_and_g_are_means_over_its_heads
_mean([losses.fake_logits_loss(head) for head in heads])
    ==> losses.fake_logits_loss(heads[0])
    :: test_losses_of_d_and_g_are_means_over_its_heads
self.discriminator_step(masked_image, real, drawn) ==> pass
    :: test_d_teaches_g_which_classes_never_occur
output_gradients=[tf.ones([]), to_samples]
    ==> output_gradients=[tf.ones([]), 0 * to_samples]
    :: test_d_teaches_g_which_classes_never_occur
@ car_tf/train/balance.py tests/train/test_balance.py
step % self.period >= self.active ==> step % self.period > self.active
    :: test_d_moves_in_the_first_steps_of_every_period
step < self.warmup_steps ==> step < 0 :: test_d_is_alone_at_first
self.judged < self.limits[0] ==> self.judged > self.limits[0]
    :: test_the_one_who_wins_rests
- self.judged) / MEAN_STEPS ==> - self.judged)
    :: test_the_mean_of_d_s_loss_begins_at_chance_and_moves_a_twentieth
@ car_tf/train/stage2.py tests/train/test_trainers.py
real_loss + self.r1_gamma * r1 ==> real_loss + r1
    :: test_ds_update_follows_finite_differences_of_its_loss_with_r1
tape.gradient(logits, [image, real]) ==> tape.gradient(logits, [real])
    :: test_ds_update_follows_finite_differences_of_its_loss_with_r1
compute_average_loss(loss / len(parts)) ==> compute_average_loss(loss)
    :: test_samples_in_turn_make_the_same_step
tf.concat(to_samples, 1) / len(parts) ==> tf.concat(to_samples, 1)
    :: test_samples_in_turn_make_the_same_step
* valid_mask[:, None, ..., None]\n        if update_generator
    ==> * 1.0\n        if update_generator
    :: test_both_of_ds_inputs_are_zero_where_ignored
samples = maps * valid_mask[:, None, ..., None] ==> samples = maps * 1.0
    :: test_both_of_ds_inputs_are_zero_where_ignored
weight_averages.update( ==> dict( :: test_averages_follow_a_net_and_its_batch_statistics
self.calibration_net.trainable = False ==> pass :: test_f_stays_as_it_was
@ car_tf/train/stage2.py tests/models/test_cvae.py
pixel += self.kl_weight * complexity ==> pixel += complexity
    :: test_the_elbo_is_lce_plus_beta_times_the_complexity
@ car_tf/train/optimization.py tests/train/test_trainers.py
beta_1=0.5 ==> beta_1=0.9 :: test_adam_is_the_papers_with_l2_added_to_the_gradient
gradient + share * variable ==> gradient
    :: test_adam_is_the_papers_with_l2_added_to_the_gradient
initial / 2 if ==> initial if :: test_learning_rates_by_hand
context.replica_id_in_sync_group * batch_size ==> 0 * context.replica_id_in_sync_group
    :: test_noise_is_that_of_the_whole_batch_and_no_function_of_the_crops
@ car_tf/train/augmentation.py tests/train/test_augmentation.py
maps *= _outside_hole ==> 0 * _outside_hole
    :: test_images_are_shifted_mirrored_and_have_a_hole
maps[:, :, ::-1], maps) ==> maps[:, ::-1], maps)
    :: test_images_are_shifted_mirrored_and_have_a_hole
tf.random.stateless_uniform([shape[0], 6], seed) ==> tf.random.uniform([shape[0], 6])
    :: test_a_seed_changes_everything_alike_and_another_differently
@ car_tf/models/draw_refinement_net.py tests/models/test_sampler.py
return maps + self.convolution_op(features, self.kernel)
    ==> return super().call(features) + (maps - self.bias)
    :: test_no_sum_is_part_of_a_convolution_s_kernel
@ car_tf/models/draw_refinement_net.py tests/models/test_draw_refinement_net.py
both + shares[..., 1] ==> classes[other]
    :: test_of_a_class_and_its_twin_the_draw_alone_decides
firsts.index(second.get(k, k)) ==> min(k, len(firsts) - 1)
    :: test_of_a_class_and_its_twin_the_draw_alone_decides
tf.maximum(draws, LEAST_LOG_PROB) + learned ==> learned
    :: test_at_step_zero_samples_are_their_draws
_with_whole_twins(log_probs)[:, None] + gumbels
    ==> _with_whole_twins(log_probs)[:, None] + 0.5 * gumbels
    :: test_draws_are_distributed_as_f_and_the_same_in_alike_pixels
return 8 * STRIDE ==> return 3 * STRIDE
    :: test_a_pixel_changes_nothing_beyond_the_receptive_field
+ shared[:, None] ==>  :: test_image_f_and_noise_all_matter_after_training
@ car_tf/models/refinement_net.py tests/models/test_networks.py
return logits + log_probs[:, None] ==> return logits
    :: test_at_step_zero_every_residual_sample_equals_f
+ gumbels) / self.temperature ==> + gumbels)
    :: test_gumbel_samples_are_drawn_from_f_by_whole_regions_at_step_zero
factor, residual = self.inject(noise)\n        return self._activate(
    ==> factor, residual = self.inject(0.0 * noise)\n        return self._activate(
    :: test_noise_reaches_every_up_block
@ car_tf/models/noise.py tests/models/test_networks.py
return 1.0 + scale[ ==> return scale[
    :: test_computing_the_encoder_once_equals_repeating_it
return -tf.math.log(-_log ==> return tf.math.log(-_log
    :: test_gumbels_of_the_classes_are_independent_where_z_is_long_enough
@ car_tf/models/discriminator.py tests/models/test_discriminator.py
tf.reduce_sum(label_maps, axis ==> tf.reduce_mean(label_maps, axis
    :: test_the_presence_head_sees_areas_and_nothing_else
PATCH_LEVEL = 1 ==> PATCH_LEVEL = 2 :: test_heads_are_those_that_were_asked_for
@ car_tf/models/discriminator.py tests/models/test_networks.py
features + self.image_conv(image)[:, None] ==> features
    :: test_every_pixel_of_both_inputs_reaches_the_logit
@ car_tf/models/calibration_net.py tests/models/test_networks.py
tf.concat([tf.cast(blackbox_probs, image.dtype), image]
    ==> tf.concat([tf.cast(blackbox_probs, image.dtype), 0 * image]
    :: test_calibrator_sees_both_inputs
@ car_tf/data/info.py tests/models/test_networks.py
table[flip.original, flip.flipped] = flip.probability
    ==> table[flip.original, flip.flipped] = 0.5
    :: test_true_distribution_by_hand
@ car_tf/models/layers.py tests/models/test_networks.py
/ 127.5 - 1.0 ==> / 255.0 :: test_grey_levels_become_minus_one_to_one
stateless_fold_in(seed, self.salt) ==> stateless_fold_in(seed, 0)
    :: test_dropout_is_a_function_of_its_seed_and_salt
@ car_tf/models/sampler.py tests/models/test_sampler.py
return index + 1, samples, total + probs
    ==> return index + 1, samples, probs
    :: test_figures_beside_the_samples_are_those_of_the_samples
stateless_normal([num_samples, noise_dim], key)
    ==> stateless_normal([num_samples, noise_dim], seed[0])
    :: test_same_seed_same_samples_whatever_else_is_in_the_batch
@ car_tf/train/build.py tests/train/test_fields.py
random_crop=dataset.info.random_crop ==> random_crop=True
    :: test_what_no_field_decides_is_wired_up
flips=dataset.info.flips, ==>  :: test_what_no_field_decides_is_wired_up
scale_range=config.data.scale_range, ==>
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
labels_per_image=settings.labels_per_image ==> labels_per_image=1
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
settings.learning_rate, trainer.generator_variables
    ==> settings.discriminator_learning_rate, trainer.generator_variables
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
settings.discriminator_learning_rate, ==> settings.learning_rate,
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
"average_decay", "r1_every"} ==> "r1_every"}
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
settings.noise_sampling == "stratified" ==> False
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
settings.sample_maps == "argmax" ==> False
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
warmup_steps=settings.warmup_steps, ==>
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
limits=settings.balance, ==>  :: test_a_field_reaches_what_it_is_for_and_nothing_else
"average_decay", "r1_every"} ==> "average_decay"}
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
augment=settings.augment_discriminator, ==>
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
seed=config.train.seed * 10 + stage ==> seed=config.train.seed
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
@ car_tf/train/build.py tests/train/test_build.py
num_updates=updates(settings.steps) ==> num_updates=settings.steps
    :: test_ds_learning_rate_ends_with_its_last_update
@ car_tf/models/build.py tests/train/test_fields.py
"logits", "temperature"} ==> "logits"}
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
"dropout", "logits", "temperature"} ==> "logits", "temperature"}
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
**dict(config.discriminator)
    ==> **config.discriminator.model_dump(exclude={"patches"})
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
**dict(config.discriminator)
    ==> **config.discriminator.model_dump(exclude={"presence"})
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
skips=settings.decoder == "skips" ==> skips=False
    :: test_a_field_reaches_what_it_is_for_and_nothing_else
if settings.logits == "draw": ==> if False: :: test_a_kind_decides_which_network_is_made
@ car_tf/data/pipeline.py tests/data/test_pipeline.py
rng = np.random.default_rng([seed, epoch]) ==> rng = np.random.default_rng([seed])
    :: test_every_epoch_has_an_order_of_its_own
key = tf.stack([tf.constant(seed, tf.int64), step])
    ==> key = tf.stack([tf.constant(seed, tf.int64), 0 * step])
    :: test_every_step_draws_anew
read(step - first_step) ==> read(step - first_step - 1)
    :: test_starting_in_the_middle_goes_on_as_the_whole_stream
(raters[place] + index) % tf.gather ==> (raters[place]) % tf.gather
    :: test_several_labels_of_an_image_are_of_different_annotators
method="nearest" if is_ids else "bilinear" ==> method="bilinear"
    :: test_image_label_and_black_box_are_magnified_alike
hits[:, index, None] ==> hits[:, 0, None]
    :: test_flips_take_whole_classes_with_their_probabilities
if not random_crop: ==> if False: :: test_crops_in_the_centre
tf.reshape(transposed, shape) ==> tf.reshape(upside_down, shape)
    :: test_crops_are_seen_under_all_symmetries_of_the_square
@ car_tf/metrics/ged.py tests/metrics/test_ged.py
ged=2 * cross_distance - sample ==> ged=cross_distance - sample
    :: test_two_raters_by_hand
labels[(labels != iou.HIDDEN).any(axis=1)] ==> labels
    :: test_an_absent_rater_changes_nothing_for_masks_either
if unknown.any(): ==> if False: :: test_pixels_that_no_rater_knows_count_nowhere
everything - np.eye(num_samples) ==> everything
    :: test_two_raters_by_hand
self.within_samples[:num_samples, :num_samples] ==> self.within_samples
    :: test_first_samples_come_from_the_same_distances
np.where(np.isnan(values), 0.0, weights) ==> weights
    :: test_energy_distance_weighs_labels_and_drops_undefined_pairs
@ car_tf/metrics/hungarian.py tests/metrics/test_hungarian.py
maximize=True ==> maximize=False :: test_square_matching_by_hand
math.lcm(*iou.shape) ==> max(iou.shape) :: test_three_samples_and_two_labels_by_hand
if size > MAX_COPIES: ==> if False: :: test_many_copies_are_transported_instead
@ car_tf/metrics/iou.py tests/metrics/test_iou.py
float(absent == COUNT_AS_ONE) ==> 0.0 :: test_masks_by_hand
weighted = bits * lengths[occurs] ==> weighted = bits :: test_equals_plain_loops
if hides:\n                area ==> if False:\n                area
    :: test_classes_by_hand_with_hidden_pixels
count[:] = len(overlap) ==> pass :: test_classes_by_hand_with_hidden_pixels
known > 0, mean ==> known >= 0, mean :: test_classes_by_hand_with_hidden_pixels
@ car_tf/metrics/bootstrap.py tests/metrics/test_bootstrap.py
np.unique(np.asarray(groups), ==> np.unique(np.arange(len(groups)),
    :: test_groups_and_not_images_are_drawn
/ drawn[drawn > 0] ==> / len(values) :: test_two_groups_by_hand
@ car_tf/metrics/raters.py tests/metrics/test_raters.py
np.delete(np.arange(num_raters), i) ==> np.arange(num_raters)
    :: test_three_raters_are_scored_against_the_fourth
marked = known & (shares[..., 0] < 1) ==> marked = known
    :: test_means_are_compared_with_the_raters_mean
@ car_tf/metrics/calibration.py tests/metrics/test_calibration.py
np.abs(self._correct - self._confidence).sum()
    ==> np.abs((self._correct - self._confidence).sum())
    :: test_ece_by_hand
pixels &= mask.astype(bool) ==> pass
    :: test_flip_calibration_counts_masked_pixels_alone_and_sums_over_images
/ math.log(2) ==>  :: test_entropy_in_bits_by_hand
@ car_tf/metrics/ged.py tests/evaluate/test_raters.py
self.cross[:num_samples])\n\n\ndef ==> self.cross)\n\n\ndef
    :: test_sixteen_fifty_and_a_hundred_samples_come_from_one_pass
@ car_tf/metrics/scores.py tests/evaluate/test_raters.py
distances.ged(count) ==> distances.ged()
    :: test_sixteen_fifty_and_a_hundred_samples_come_from_one_pass
distances.matched_iou(count) ==> distances.matched_iou()
    :: test_sixteen_fifty_and_a_hundred_samples_come_from_one_pass
@ car_tf/evaluate/sample_files.py tests/evaluate/test_evaluation.py
[places[name] for name in source.names] ==> range(len(source))
    :: test_other_models_are_scored_on_the_same_images
if not np.array_equal(one.reshape(own.shape), own): ==> if False:
    :: test_samples_of_other_images_are_refused
@ car_tf/evaluate/fitted_cuts.py tests/evaluate/test_fitted_cuts.py
np.argmin(geds) ==> np.argmax(geds) :: test_the_cuts_of_a_third_are_found
@ car_tf/evaluate/run.py tests/evaluate/test_fitted_cuts.py
fitted and baselines.Cuts(**fitted["cuts"]) ==> None
    :: test_without_the_selection_split_those_of_the_run_are_taken
@ car_tf/metrics/baselines.py tests/metrics/test_baselines.py
cuts.scale * np.log(levels ==> np.log(levels
    :: test_cuts_move_on_the_scale_of_the_logit
@ car_tf/evaluate/accumulators.py tests/evaluate/test_evaluation.py
maps["blackbox"] == label if "blackbox" in maps else None ==> None
    :: test_f_s_flips_are_judged_where_the_black_box_is_right
correct[valid] / known[valid] ==> correct[valid] / len(labels)
    :: test_raters_of_three_classes_by_hand
probs, labels, self.dataset_info, marked ==> probs, labels, self.dataset_info
    :: test_raters_of_three_classes_by_hand
@ car_tf/data/info.py tests/evaluate/test_evaluation.py
table[flip.original, flip.flipped] = flip.probability ==> pass
    :: test_a_flipped_name_is_right_as_often_as_it_flips
@ car_tf/train/run.py tests/train/test_run.py
optimizer=trainer.optimizer) ==> optimizer=tf.Module())
    :: test_checkpoints_hold_all_that_a_stage_goes_on_with
step=trainer.step,\n        judged ==> judged
    :: test_checkpoints_hold_all_that_a_stage_goes_on_with
judged=trainer.balance.judged, ==>  :: test_checkpoints_hold_all_that_a_stage_goes_on_with
generator_optimizer=trainer.generator_optimizer, ==>
    :: test_checkpoints_hold_all_that_a_stage_goes_on_with
discriminator_optimizer=trainer.discriminator_optimizer, ==>
    :: test_checkpoints_hold_all_that_a_stage_goes_on_with
nets["averages"] = trainer.averages ==> pass
    :: test_checkpoints_hold_all_that_a_stage_goes_on_with
@ car_tf/runtime/checkpoints.py tests/runtime/test_checkpoints.py
in reversed(manager.checkpoints) ==> in manager.checkpoints
    :: test_the_newest_checkpoint_is_restored
@ car_tf/train/fit.py tests/train/test_fit.py
checkpoints.restore_latest(checkpoint, manager, log) ==> pass
    :: test_a_killed_stage_goes_on_from_its_last_checkpoint
@ car_tf/train/selection.py tests/train/test_selection.py
value < best[self._score] ==> value > best[self._score]
    :: test_the_weights_with_the_lowest_ged_are_kept
@ export/checks.py tests/export/test_signatures.py
tf.cast(count, tf.float64) * _counted ==> 1.0 * _counted
    :: test_a_request_is_bounded_before_anything_is_computed
@ export/signatures.py tests/export/test_signatures.py
maxval=tf.int32.max ==> maxval=tf.int32.min + 1
    :: test_without_a_seed_every_call_draws_anew
"""


def mutants() -> list:
    """Reads LIST: (file, text, replacement, test) of each."""
    found = []
    for line in LIST.strip().replace("\n    ", " ").splitlines():
        if line.startswith("@ "):
            _, name, tests = line.split()
            continue
        text, replacement, test = re.fullmatch(
            r"(.+?) ==> ?(.*?) ?:: (\w+)", line
        ).groups()
        text, replacement = (part.replace(r"\n", "\n") for part in (text, replacement))
        found.append((name, text, replacement, f"{tests}::{test}"))
    return found


MUTANTS = mutants()


def environment() -> None:
    """Sets what the tests' conftest would set before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def run_test(copy: pathlib.Path, node: str) -> None:
    """Runs one test of a copy in this process and ends it; 1 means that it failed."""
    os.setpgid(0, 0)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1), os.dup2(silent, 2)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    import pytest

    options = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    os._exit(int(pytest.main([*options, node])))


def start(index: int, copy: pathlib.Path):
    """Mutates a copy and starts the test; None where the text is not there once."""
    name, text, replacement, node = MUTANTS[index]
    source = (ROOT / name).read_text(encoding="utf-8")
    if source.count(text) != 1:
        return None
    (copy / name).write_text(source.replace(text, replacement), encoding="utf-8")
    child = os.fork()
    if not child:
        run_test(copy, node)
    return child


def numbers(text: str) -> list:
    """Reads 3,7-9."""
    found = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found or list(range(len(MUTANTS)))


def verdicts(indices: list, copies: list):
    """Yields (index, verdict, seconds) as tests end, one for each copy at a time."""
    waiting, running = list(indices), {}
    free = list(copies)
    while waiting or running:
        while free and waiting:
            index, copy = waiting.pop(0), free.pop()
            child = start(index, copy)
            if child is None:
                free.append(copy)
                yield index, STALE, 0.0
                continue
            running[child] = (index, copy, time.monotonic())
        time.sleep(0.1)
        for child, (index, copy, begun) in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            seconds = time.monotonic() - begun
            if not ended and seconds < SECONDS:
                continue
            verdict = TIMEOUT
            if ended:
                code = os.waitstatus_to_exitcode(status)
                # 1: a test failed; 2: it could not be imported; 4 and 5: no such test.
                verdict = {0: SURVIVED, 1: CAUGHT}.get(code, f"pytest said {code}")
            else:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
            del running[child]
            name = MUTANTS[index][0]
            shutil.copy2(ROOT / name, copy / name)
            free.append(copy)
            yield index, verdict, seconds


def main() -> int:
    """Prints a line for each mutant and the sum; 1 unless all are caught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="numbers and ranges of mutants")
    parser.add_argument("--jobs", type=int, default=2, help="tests at the same time")
    arguments = parser.parse_args()
    environment()
    sys.dont_write_bytecode = True
    # Loaded once for all: nothing of it starts a thread before it is used.
    import pytest  # noqa: F401
    import tensorflow as tf  # noqa: F401
    import tensorflow_probability as tfp

    tfp.distributions.Normal  # It loads itself when it is first used.
    indices, caught = numbers(arguments.only), 0
    with tempfile.TemporaryDirectory(prefix="car-tf-mutants-") as folder:
        copies = [pathlib.Path(folder, str(job)) for job in range(arguments.jobs)]
        files = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE
        ).stdout.decode()
        for copy in copies:
            for name in filter(None, files.split("\0")):
                if (ROOT / name).is_file():
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, copy / name)
        for index, verdict, seconds in verdicts(indices, copies):
            caught += verdict == CAUGHT
            name, text, replacement, _ = MUTANTS[index]
            change = f"{text.strip()!r} -> {replacement.strip()!r}"
            print(
                f"{index:3} {verdict:8} {seconds:4.0f} s  {name}: {change}", flush=True
            )
    print(f"{caught} of {len(indices)} caught")
    return int(caught != len(indices))


if __name__ == "__main__":
    sys.exit(main())
