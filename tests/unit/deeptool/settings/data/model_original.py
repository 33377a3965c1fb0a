# -*- coding: utf-8 -*-
'''
@brief : a model file of the same age as mysettings_original.py
'''
import tensorflow as tf

def model(usersettings):
    inputs=tf.keras.Input(shape=(usersettings.series_length,), name='series')
    features=inputs
    for nb_units in usersettings.hparams['layers']:
        features=tf.keras.layers.Dense(nb_units, activation='relu')(features)
    if usersettings.hparams['isBayesian']:
        features=tf.keras.layers.Dropout(0.5)(features, training=True)
    outputs=tf.keras.layers.Dense(len(usersettings.reference_labels), name=usersettings.served_head)(features)
    return tf.keras.Model(inputs, outputs)
