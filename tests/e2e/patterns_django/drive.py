"""What a view would do; each answer is one line of JSON."""

import json

import django
from config.celery import app

django.setup()

from django.db import connection, transaction  # noqa: E402  # after setup()
from shop.models import Order  # noqa: E402
from shop.tasks import name_of  # noqa: E402

with connection.schema_editor() as editor:
    editor.create_model(Order)

answers = {}
with transaction.atomic():
    order = Order.objects.create(name="a lamp")
    name_of.delay_on_commit(order.pk)
    answers["before the commit"] = app.store.size("celery")
answers["after the commit"] = app.store.size("celery")

try:
    with transaction.atomic():
        name_of.delay_on_commit(order.pk)
        raise ZeroDivisionError
except ZeroDivisionError:
    answers["after a rollback"] = app.store.size("celery")

try:
    name_of.delay(order)
except TypeError as error:
    answers["a model as argument"] = str(error)

answers["id"] = name_of.delay(order.pk).id
print(json.dumps(answers))
