import os

workingFolder = "experiments"
session_name = os.environ["TEST_SESSION"]
hparams = {"procID": 0, "size": 2, "lr": 0.1, "infinite": 0, "known": 40}
used_gpu_IDs = [0]
useXLA = False
use_profiling = False
model_file = "model.py"
weights_moving_averages = False
random_seed = 3
nbEpoch = 1
early_stopping_patience = 3
raw_data_dir_train = ""
raw_data_dir_val = ""
raw_data_filename_extension = ""
nb_train_samples = hparams["known"]
nb_val_samples = 0
steps_per_epoch = 0
validation_steps = 3 if nb_train_samples else 0
batch_size = 4
reference_labels = ["y"]


def addon_callbacks(model, train_samples, val_samples):
    return []


def get_learningRate():
    return hparams["lr"]


def get_optimizer(model, loss, learning_rate):
    return None


def get_metrics(model, loss):
    return []


def get_total_loss(model):
    return "mse"


def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    import tensorflow as tf

    size = hparams["size"]
    dataset = tf.data.Dataset.range(100).map(lambda i: (tf.fill([size], i), i))
    if hparams["infinite"]:
        dataset = dataset.repeat()
    return dataset.batch(batch_size)
