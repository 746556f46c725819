"""One model."""

from django.db import models


class Order(models.Model):
    """An order."""

    name = models.CharField(max_length=20)

    class Meta:
        """Named, since the test makes its table itself."""

        app_label = "shop"
