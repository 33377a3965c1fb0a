# -*- coding: utf-8 -*-
'''
@brief : an experiment as they were written for the framework that deeptool's settings contract
comes from: nothing in this file knows of deeptool, and nothing in it may have to be changed.

Quantity to be learned : the phase of a noisy sine
'''
from __future__ import print_function
import os
import numpy as np
import matplotlib.pyplot as plt
import tensorflow as tf

#-> general experiment setup
workingFolder='experiments/examples/sines'
session_name='sines_phase'
#-> hyperparameters, procID is set by the launcher
hparams={
      'procID':0,
      'random_seed':11,
      'nbEpoch':3,
      'batchSize':8,
      'learningRate':0.001,
      'seriesLength':24,
      'noiseLevel':0.1,
      'hidden':4,
      'isBayesian':False,
      'layers':[16,8],
      'comment':'base',
      }

used_gpu_IDs=[0]
useXLA=True
use_profiling=False
#-> the model, its path is relative to where the framework is started
model_file='tests/unit/deeptool/settings/data/model_original.py'
weights_moving_averages=False
predict_using_smoothed_parameters=False
random_seed=hparams['random_seed']
nbEpoch=hparams['nbEpoch']
nbEpoch=max(nbEpoch, 2)
early_stopping_patience=20
recoverFromCheckpoint=False

#-> data
raw_data_dir_train=''
raw_data_dir_val=''
raw_data_filename_extension='*.csv'
nb_train_samples=64
nb_val_samples=16
batch_size=hparams['batchSize']
steps_per_epoch=nb_train_samples//batch_size
validation_steps=int(nb_val_samples/batch_size)
reference_labels=['phase']
series_length=hparams['seriesLength']
time_axis=np.arange(series_length)/float(series_length)
display=int(os.environ.get('SINES_DISPLAY', 0))
if display:
    plt.plot(time_axis)
    plt.show()

def addon_callbacks(model, train_samples, val_samples):
    ''' optionnal callbacks
    '''
    return {}

def get_learningRate():
    return hparams['learningRate']

def get_optimizer(model, loss, learning_rate):
    optimizer=tf.keras.optimizers.Adam(learning_rate=learning_rate)
    return optimizer

def get_metrics(model, loss):
    return [tf.keras.metrics.MeanSquaredError()]

def get_total_loss(model):
    def reconstruction_loss(y_true, y_pred):
        return tf.reduce_mean(tf.square(y_true-y_pred))
    return reconstruction_loss

def makeSerie(phase):
    serie=np.sin(2*np.pi*(time_axis+phase))
    return (serie+hparams['noiseLevel']*np.random.randn(series_length)).astype(np.float32)

def get_input_pipeline(raw_data_files_folder, isTraining, batch_size, nbEpoch):
    ''' the data pipeline
    @param raw_data_files_folder : where the raw data is
    @param isTraining : True for the training set
    @return a dataset of batches (series, phases)
    '''
    nb_samples=nb_train_samples if isTraining else nb_val_samples
    phases=np.random.rand(nb_samples).astype(np.float32)

    @tf.function
    def load(phase):
        serie=tf.numpy_function(makeSerie, [phase], tf.float32)
        if isTraining:
            serie=serie+0.
        serie.set_shape([series_length])
        return serie, tf.expand_dims(phase, -1)

    dataset=tf.data.Dataset.from_tensor_slices(phases)
    if isTraining:
        dataset=dataset.shuffle(nb_samples)
    dataset=dataset.repeat(nbEpoch)
    dataset=dataset.map(load, num_parallel_calls=2)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(1)

################################
# server/client section
################################
served_head='phase'
tensorflow_server_address='127.0.0.1'
tensorflow_server_port=9000
wait_for_server_ready_int_secs=5
client_max_requests=10

def get_served_module(model, customInfo=''):
    class ExportedModule(tf.Module):
        def __init__(self, model):
            super(ExportedModule, self).__init__()
            self.model=model

        @tf.function(input_signature=[tf.TensorSpec([None, series_length], tf.float32)])
        def predict(self, series):
            return {served_head: self.model(series)}
    return ExportedModule(model)

class Client_IO:
    ''' a class to specify how to feed the served model and how to use its answers
    '''
    def __init__(self, debugMode=False):
        self.debugMode=debugMode
        self.nb_requests=0

    def getInputData(self, idx):
        self.nb_requests+=1
        return {'series':makeSerie(idx/100.)}

    def decodeResponse(self, result):
        response=np.array(result.outputs[served_head].float_val)
        if self.debugMode:
            print('answer', response)
        return response

    def finalize(self):
        print('nb requests : {nb}'.format(nb=self.nb_requests))
